use std::collections::BTreeSet;

use gradwatch_doctor::config::Config;
use proptest::prelude::*;
use toml::Value;

use super::{name::MOST_BYTES, *};
use crate::{
    definition::Axis,
    fixture::{BASE, study},
};

fn names(text: &str) -> Vec<String> {
    study(text).1.plans().into_iter().map(|plan| plan.name).collect()
}

#[test]
fn plans_are_all_combinations_without_the_excluded_ones_in_a_fixed_order() {
    let (_folder, study) = study(
        "seeds = [1, 2]\nset.optimizer.momentum = 0.5\n[axes]\nmodel.depth = [4, 8]\ninitialization = [{ label = \"xavier\", \
         model.initialization = \"xavier_uniform\" }, { label = \"ones\", model.initialization.gain = 1.0 }]\n\
         [[exclude]]\nmodel.depth = 8\ninitialization = \"xavier\"\n[[exclude]]\nmodel.depth = 4\nseed = 2",
    );
    let plans = study.plans();
    let names: Vec<&str> = plans.iter().map(|plan| &*plan.name).collect();
    let want = [
        "depth=4,initialization=xavier,seed=1",
        "depth=4,initialization=ones,seed=1",
        "depth=8,initialization=ones,seed=1",
        "depth=8,initialization=ones,seed=2",
    ];
    assert_eq!(names, want);
    let assignments =
        ["optimizer.momentum=0.5", "model.depth=4", "model.initialization=\"xavier_uniform\"", "run.seed=1"];
    assert_eq!((&plans[0].assignments[..], plans[3].seed), (&assignments.map(str::to_owned)[..], 2));
    let labels = [("model.depth", Cell::Number(8.0)), ("initialization", Cell::Text("ones".into()))];
    assert_eq!(plans[3].labels, labels.map(|(axis, label)| (axis.to_owned(), label)));
}

#[test]
fn a_study_without_axes_has_one_run_per_seed() {
    assert_eq!(names("seeds = [3, 1]"), ["seed=3", "seed=1"]);
}

#[test]
fn names_use_the_last_part_of_a_key_unless_two_axes_have_the_same() {
    let axes = "[axes]\nmodel.name = [\"mlp\"]\noptimizer.name = [\"sgd\"]\noptimizer.betas = [[0.9, 0.999]]";
    assert_eq!(names(axes), ["model.name=mlp,optimizer.name=sgd,betas=0.9_0.999,seed=7"]);
}

#[test]
fn names_that_differ_only_in_special_characters_or_case_get_a_hash() {
    let of = |labels: [&str; 3]| {
        let values = labels.iter().enumerate();
        let values: Vec<String> =
            values.map(|(depth, label)| format!("{{ label = \"{label}\", model.depth = {} }}", depth + 1)).collect();
        names(&format!("axes.x = [{}]", values.join(", ")))
    };
    let [spaced, slashed, plain] = &of(["a b", "a/b", "c"])[..] else { panic!() };
    assert!(spaced.starts_with("x=a_b,seed=7-") && slashed.starts_with("x=a_b,seed=7-") && spaced != slashed);
    assert_eq!(plain, "x=c,seed=7");
    let cased: BTreeSet<String> = of(["ReLU", "relu", "c"]).iter().map(|name| name.to_lowercase()).collect();
    assert_eq!(cased.len(), 3);
    // The name of a run does not depend on the other axis values, as long as they differ.
    assert_eq!(of(["a b", "d", "c"])[0], "x=a_b,seed=7");
}

#[test]
fn labels_of_symbols_have_names_that_do_not_depend_on_each_other() {
    let of = |labels: &[&str]| {
        let value = |(depth, label): (usize, &&str)| format!("{{ label = \"{label}\", model.depth = {} }}", depth + 1);
        let values: Vec<String> = labels.iter().enumerate().map(value).collect();
        names(&format!("axes.x = [{}]", values.join(", ")))
    };
    assert_eq!(of(&["<", ">=", "≥", "+"]), ["x=u3c,seed=7", "x=u3e_u3d,seed=7", "x=u2265,seed=7", "x=+,seed=7"]);
    assert_eq!(of(&[">="]), ["x=u3e_u3d,seed=7"]);
}

#[test]
fn seeds_of_many_digits_are_exact_in_exclusions_filters_names_and_results() {
    // 2^53 and 2^53 + 1, which are the same floating-point number.
    let (one, two) = (9_007_199_254_740_992_u64, 9_007_199_254_740_993_u64);
    let text = format!("seeds = [{one}, {two}]\n[[exclude]]\nseed = {two}");
    assert_eq!(names(&text), [format!("seed={one}")]);
    let text = format!(
        "seeds = [{one}, {two}, 1000000000000000]\n[[tables]]\ntitle = \"A\"\nrows = \"seed\"\nvalue = \"steps\"\n\
         where = {{ seed = [{two}, 1000000000000000] }}"
    );
    let (folder, study) = study(&text);
    let results = crate::Results::gather(&study, &study.plans(), folder.path(), &Default::default()).results;
    let filter = &study.tables[0].filters[0];
    let column = results.column("seed").unwrap();
    let admitted: Vec<bool> = results.rows.iter().map(|row| filter.admits(&row.cells[column])).collect();
    assert_eq!(admitted, [false, true, true]);
    let seeds: Vec<String> = results.rows.iter().map(|row| row.cells[column].to_string()).collect();
    assert_eq!(seeds, [one.to_string(), two.to_string(), "1000000000000000".to_owned()]);
}

#[test]
fn a_long_name_ends_in_a_hash_and_fits() {
    let of = |end: &str| {
        let label = format!("{}{end}", "é".repeat(150));
        names(&format!("axes.x = [{{ label = \"{label}\", model.depth = 4 }}]")).remove(0)
    };
    let (one, other) = (of("1"), of("2"));
    // `x=`, 92 times é with two bytes each, a hyphen, and twelve digits: half of an é does not fit.
    assert_eq!((one.len(), other.len()), (199, 199));
    assert!(one != other && one.starts_with(&format!("x={}-", "é".repeat(92))));
}

#[test]
fn runs_with_an_invalid_config_are_named_and_the_others_remain() {
    let (_folder, study) = study("axes.model.dropout = [0.5, 1.5]");
    let grid = study.grid().unwrap();
    assert_eq!(grid.plans.len(), 1);
    let problem = "model.dropout: got 1.5, want at least 0 and below 1".to_owned();
    assert_eq!(grid.invalid, [InvalidRun { name: "dropout=1.5,seed=7".into(), problem }]);
}

#[test]
fn if_all_configs_are_invalid_the_first_one_is_told() {
    let (_folder, study) = study("axes.model.dropout = [1.5, 2.5]");
    let error = study.grid().unwrap_err().to_string();
    assert!(
        error.contains("depths.toml: the configs of all 2 runs are invalid; that of dropout=1.5,seed=7: config "),
        "{error}"
    );
    assert!(error.ends_with("base.toml: model.dropout: got 1.5, want at least 0 and below 1"), "{error}");
}

/// A value as TOML, as a study and as `--set` see it.
fn values() -> impl Strategy<Value = Value> {
    let texts = prop_oneof![any::<String>(), Just("4".to_owned()), Just("true".to_owned()), Just("a\nb".to_owned())];
    let one = prop_oneof![
        any::<i64>().prop_map(Value::Integer),
        any::<f64>().prop_filter("NaN equals nothing", |number| !number.is_nan()).prop_map(Value::Float),
        any::<bool>().prop_map(Value::Boolean),
        texts.prop_map(Value::String),
    ];
    prop_oneof![one.clone(), prop::collection::vec(one, 0..3).prop_map(Value::Array)]
}

fn axis(name: &str, labels: &[String]) -> Axis {
    let value = |(index, label): (usize, &String)| AxisValue {
        label: Cell::Text(label.clone()),
        assignments: vec![(format!("model.{name}"), Value::Integer(index as i64))],
    };
    Axis { name: name.to_owned(), values: labels.iter().enumerate().map(value).collect() }
}

proptest! {
    #[test]
    fn any_value_reaches_the_config_as_it_stands_in_the_study(value in values()) {
        let (_folder, mut study) = study("");
        study.set = vec![("loss.class_names".to_owned(), value.clone())];
        let assignment = &study.plans()[0].assignments[0];
        // The config does not have this key, and tells the value that it was given.
        let (key, text) = gradwatch_doctor::config::split_override(assignment).unwrap();
        prop_assert_eq!(key, "loss.class_names");
        let table: toml::Table = format!("value = {text}").parse().unwrap();
        prop_assert_eq!(&table["value"], &value);
    }

    #[test]
    fn plans_are_the_product_minus_the_exclusions_with_unique_safe_names(
        sizes in prop::collection::vec(prop::collection::hash_set(any::<String>(), 1..4), 0..4),
        seeds in prop::collection::btree_set(0u64..5, 1..3),
        excluded in (0usize..4, 0usize..4),
    ) {
        let (_folder, mut study) = study("");
        study.axes = sizes.iter().enumerate().map(|(index, labels)| {
            let mut labels: Vec<String> = labels.iter().cloned().collect();
            labels.sort_unstable();
            axis(&format!("axis{index}"), &labels)
        }).collect();
        study.seeds = seeds.into_iter().collect();
        let product: usize = study.axes.iter().map(|axis| axis.values.len()).product::<usize>() * study.seeds.len();
        let filter = study.axes.get(excluded.0).and_then(|axis| {
            Some(Filter { column: axis.name.clone(), values: vec![axis.values.get(excluded.1)?.label.clone()] })
        });
        // One value of an axis: its share of the product.
        let without = filter.as_ref().map_or(0, |_| product / study.axes[excluded.0].values.len());
        study.exclusions = filter.into_iter().map(|filter| vec![filter]).collect();
        let plans = study.plans();
        prop_assert_eq!(plans.len(), product - without);
        prop_assert_eq!(&study.plans(), &plans);
        let names: BTreeSet<String> = plans.iter().map(|plan| plan.name.to_lowercase()).collect();
        prop_assert_eq!(names.len(), plans.len());
        for plan in &plans {
            prop_assert!(plan.name.len() <= MOST_BYTES && !plan.name.starts_with(['.', '-']), "{}", plan.name);
            prop_assert!(!plan.name.contains(|character: char| character == '/' || character.is_control()));
            prop_assert!(plan.labels.len() == study.axes.len() && study.seeds.contains(&plan.seed));
        }
    }
}

#[test]
fn the_assignments_of_a_plan_make_the_config_of_its_run() {
    let (_folder, study) = study(
        "set.optimizer.name = \"adam\"\n[axes]\nmodel.activation = [\"tanh\"]\noptimizer.betas = [[0.8, 0.9]]\n\
         model.depth = [5]",
    );
    let plan = study.plans().remove(0);
    let config = Config::parse_with(BASE, "base", &plan.assignments).unwrap();
    assert_eq!((config.run.seed, config.model.activation.name(), config.model.depth), (7, "tanh", Some(5)));
    assert_eq!((config.optimizer.name.name(), config.optimizer.betas), ("adam", [0.8, 0.9]));
}
