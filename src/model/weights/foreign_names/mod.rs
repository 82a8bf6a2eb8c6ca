//! Translates other libraries' names of tensors to gradwatch's.
//!
//! A style is detected by its result: the style with the most matches for the model's names wins. If no style matches
//! more names than the file itself, nothing is translated.

mod mobile;
mod timm;
mod torchvision;
mod transformers;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
};

use self::mobile::Mobile;
use super::{
    source::{Source, THIRDS},
    stored::StoredTensor,
};
use crate::model::Parameters;

/// The library that the names come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// torchvision, for models with timm's names in gradwatch, and for older torchvision files.
    Torchvision,
    /// timm, for models with torchvision's names in gradwatch.
    Timm,
    /// Hugging Face transformers.
    Transformers,
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Torchvision => "torchvision",
            Self::Timm => "timm",
            Self::Transformers => "transformers",
        })
    }
}

/// The counterpart of another library's tensor in gradwatch's model.
#[derive(Debug, PartialEq, Eq)]
enum Ours {
    Whole(String),
    /// The query, key, or value part of a tensor that is combined in gradwatch.
    Third(String, usize),
}

type Rename<'n> = dyn Fn(&[&str]) -> Option<Ours> + 'n;

/// The naming style of one family in one library.
struct Style<'n> {
    library: Library,
    rename: Box<Rename<'n>>,
    /// Epsilons of batch normalization: the library's and gradwatch's.
    epsilons: Option<[f64; 2]>,
}

impl<'n> Style<'n> {
    fn of(library: Library, rename: impl Fn(&[&str]) -> Option<String> + 'n) -> Self {
        Self { library, rename: Box::new(move |segments| rename(segments).map(Ours::Whole)), epsilons: None }
    }

    fn all(mobile: Option<&'n Mobile>) -> Vec<Self> {
        use Library::{Timm, Torchvision, Transformers};
        let mut styles = vec![
            Self::of(Torchvision, torchvision::vit),
            Self::of(Torchvision, torchvision::densenet),
            Self::of(Timm, timm::vgg),
            Self::of(Timm, timm::convnext),
            Self::of(Transformers, transformers::resnet),
            Self::of(Transformers, transformers::convnext),
            Self { library: Transformers, rename: Box::new(transformers::vit), epsilons: None },
        ];
        let mobile = mobile.map(|mobile| {
            let style = Self::of(Timm, |segments| mobile.rename(segments));
            Self { epsilons: mobile.epsilons(), ..style }
        });
        styles.extend(mobile);
        styles
    }

    /// Translates the names of a file; names without a translation stay unchanged. `None` if two tensors would have the
    /// same name.
    fn translate<'a>(&self, tensors: &[(String, StoredTensor<'a>)]) -> Option<Vec<(String, Source<'a>)>> {
        let (mut translated, mut thirds) = (Vec::new(), BTreeMap::<String, [Option<usize>; THIRDS]>::new());
        for (index, (name, tensor)) in tensors.iter().enumerate() {
            let segments: Vec<&str> = name.split('.').collect();
            match (self.rename)(&segments) {
                None => translated.push((name.clone(), tensor.clone().into())),
                Some(Ours::Whole(ours)) => translated.push((ours, tensor.clone().into())),
                Some(Ours::Third(ours, part)) => {
                    let place = thirds.entry(ours).or_default().get_mut(part)?;
                    if place.replace(index).is_some() {
                        return None;
                    }
                }
            }
        }
        for (ours, places) in thirds {
            let parts = places.map(|place| place.map(|index| tensors[index].1.clone()));
            let stacked =
                if let [Some(one), Some(two), Some(three)] = parts { Source::stacked([one, two, three]) } else { None };
            match stacked {
                Some(source) => translated.push((ours, source)),
                None => translated.extend(places.into_iter().flatten().map(|index| {
                    let (name, tensor) = &tensors[index];
                    (name.clone(), tensor.clone().into())
                })),
            }
        }
        let mut seen = HashSet::new();
        translated.iter().all(|(name, _)| seen.insert(name.as_str())).then_some(translated)
    }
}

/// The tensors of a file under gradwatch's names.
pub(super) struct Translated<'a> {
    pub tensors: Vec<(String, Source<'a>)>,
    /// Library whose names were translated, if any.
    pub from: Option<Library>,
    /// Number of names that match the model's.
    pub known: usize,
    /// Number of gains that were rescaled for another epsilon.
    pub rescaled: usize,
}

/// Translates the names of tensors. Names without a translation stay unchanged, and all names do if no style matches
/// more of the model's names.
pub(super) fn translate<'a>(tensors: &[(String, StoredTensor<'a>)], own: &Parameters) -> Translated<'a> {
    let sizes: HashMap<&str, Vec<i64>> = own.iter().map(|own| (own.name.as_str(), own.tensor.size())).collect();
    let known =
        |tensors: &[(String, Source<'_>)]| tensors.iter().filter(|(name, _)| sizes.contains_key(&**name)).count();
    let as_it_is: Vec<_> = tensors.iter().map(|(name, tensor)| (name.clone(), tensor.clone().into())).collect();
    let known_before = known(&as_it_is);
    let mut best = Translated { tensors: as_it_is, from: None, known: known_before, rescaled: 0 };
    let mut epsilons = None;
    let mobile = Mobile::of(tensors.iter().map(|(name, _)| name.as_str()));
    for style in Style::all(mobile.as_ref()) {
        if let Some(tensors) = style.translate(tensors)
            && known(&tensors) > best.known
        {
            epsilons = style.epsilons;
            best = Translated { known: known(&tensors), tensors, from: Some(style.library), rescaled: 0 };
        }
    }
    if best.from.is_some() {
        for (name, source) in &mut best.tensors {
            sizes.get(&**name).inspect(|own| source.reshape_like(own));
        }
    }
    if let Some(epsilons) = epsilons {
        best.rescaled = rescale(&mut best.tensors, epsilons);
    }
    best
}

/// Rescales the gain of each batch normalization. Returns the number of rescaled gains.
fn rescale<'a>(tensors: &mut [(String, Source<'a>)], epsilons: [f64; 2]) -> usize {
    let variance = |(name, source): &(String, Source<'a>)| {
        name.strip_suffix("running_var").map(|layer| (format!("{layer}weight"), source.clone()))
    };
    let variances: HashMap<_, _> = tensors.iter().filter_map(variance).collect();
    let mut rescaled = 0;
    for (name, source) in tensors {
        if variances.get(name).is_some_and(|variance| source.rescale(variance, epsilons)) {
            rescaled += 1;
        }
    }
    rescaled
}

/// Parses an index in a sequence.
fn number(segment: &str) -> Option<usize> {
    segment.parse::<u16>().ok().map(usize::from)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::hash_set, prelude::*, sample::select, test_runner::TestRunner};
    use tch::Kind;

    use super::*;
    use crate::{config::Architecture, model::fixture};

    fn translated(names: &[&str], architecture: Architecture) -> (Option<Library>, Vec<String>) {
        let stored = StoredTensor::dense(&[0; 4], Kind::Float, vec![1]).unwrap();
        let tensors: Vec<_> = names.iter().map(|name| ((*name).to_owned(), stored.clone())).collect();
        let Translated { tensors, from, .. } =
            translate(&tensors, &fixture::network(&fixture::thin(architecture)).parameters);
        (from, tensors.into_iter().map(|(name, _)| name).collect())
    }

    #[test]
    fn names_of_ours_and_names_of_nobody_stay_as_they_are() {
        for architecture in fixture::FAMILIES {
            let network = fixture::network(&fixture::thin(architecture));
            let names: Vec<&str> = network.parameters.iter().map(|own| own.name.as_str()).collect();
            assert_eq!(translated(&names, architecture), (None, names.iter().map(|name| (*name).into()).collect()));
        }
        let names =
            ["stem.0.weight", "extra.weight", "stages.0.blocks.0.beta", "stages.65536.blocks.0.gamma", "stem", ""];
        let (from, got) = translated(&names, Architecture::ConvnextTiny);
        assert_eq!(
            (from, &*got[0], &got[1..]),
            (Some(Library::Timm), "features.0.0.weight", &names.map(String::from)[1..])
        );
        // The same file, loaded into a model of another family.
        assert_eq!(translated(&names, Architecture::Resnet8), (None, names.map(String::from).to_vec()));
    }

    #[test]
    fn a_third_without_the_others_keeps_its_name() {
        let layer = |name: &str| format!("vit.layers.0.attention.{name}.bias");
        let names = ["q_proj", "k_proj", "v_proj", "o_proj"].map(layer);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (from, got) = translated(&names, Architecture::VitTiny);
        assert_eq!(
            (from, got),
            (Some(Library::Transformers), vec!["blocks.0.attn.proj.bias".into(), "blocks.0.attn.qkv.bias".into()])
        );
        let (_, got) = translated(&names[1..], Architecture::VitTiny);
        assert_eq!(got, ["blocks.0.attn.proj.bias", names[1], names[2]]);
    }

    #[test]
    fn whatever_the_names_each_tensor_is_there_once_under_a_name_of_its_own() {
        const SEGMENTS: [&str; 24] = [
            "conv_stem",
            "conv_head",
            "blocks",
            "0",
            "1",
            "01",
            "65535",
            "65536",
            "-1",
            "conv_pw",
            "conv_dw",
            "conv_pwl",
            "bn1",
            "bn2",
            "se",
            "weight",
            "bias",
            "running_var",
            "vit",
            "layers",
            "attention",
            "q_proj",
            "k_proj",
            "v_proj",
        ];
        let segment = || select(&SEGMENTS[..]);
        let any = proptest::collection::vec(segment(), 1..6).prop_map(|segments| segments.join("."));
        let blocks = (0..3usize, 0..3usize, segment())
            .prop_map(|(stage, place, layer)| format!("blocks.{stage}.{place}.{layer}.weight"));
        let thirds = (0..2usize, select(&SEGMENTS[21..]))
            .prop_map(|(layer, third)| format!("vit.layers.{layer}.attention.{third}.weight"));
        let names = hash_set(prop_oneof![any, blocks, thirds, Just("conv_stem.weight".to_owned())], 0..40);
        let networks = [Architecture::MobilenetV3Small, Architecture::EfficientnetB0, Architecture::VitTiny]
            .map(|architecture| fixture::network(&fixture::thin(architecture)));
        let result = TestRunner::default().run(&(names, 0..3usize), |(names, sides)| {
            let stored = StoredTensor::dense(&[0; 16], Kind::Int8, vec![4; sides]).unwrap();
            let tensors: Vec<_> = names.iter().map(|name| (name.clone(), stored.clone())).collect();
            for network in &networks {
                let Translated { tensors: translated, from, .. } = translate(&tensors, &network.parameters);
                let distinct: HashSet<&str> = translated.iter().map(|(name, _)| name.as_str()).collect();
                prop_assert_eq!(distinct.len(), translated.len());
                // Three tensors become one.
                let fewer = tensors.len() - translated.len();
                prop_assert!(fewer % 2 == 0 && (fewer == 0 || from == Some(Library::Transformers)));
                let stays = translated.iter().zip(&tensors).all(|((name, _), (theirs, _))| name == theirs);
                prop_assert!(stays || from.is_some());
                for (_, source) in &translated {
                    prop_assert_eq!(&source.read().unwrap().size(), &source.size);
                }
            }
            Ok(())
        });
        result.unwrap();
    }

    #[test]
    fn nothing_is_translated_where_two_tensors_would_come_to_one_name() {
        for names in [
            ["stem.0.weight", "features.0.0.weight", "stem.1.weight"],
            ["vit.layers.0.attention.q_proj.bias", "layers.0.attention.q_proj.bias", "vit.layernorm.bias"],
        ] {
            for architecture in [Architecture::ConvnextTiny, Architecture::VitTiny] {
                assert_eq!(translated(&names, architecture), (None, names.map(String::from).to_vec()));
            }
        }
    }
}
