//! Families of networks with settings that train them, and optimizers with their learning rates.

use crate::images::Form;

/// A family of networks at a small width.
pub(crate) struct Family {
    pub name: &'static str,
    /// Keys and values of `[model]`, separated by spaces.
    pub model: &'static str,
    /// Format of the images.
    pub form: Form,
    /// Learning rate of SGD with momentum 0.9, and of Adam.
    pub rates: [f64; 2],
    /// Whether `model.normalization`, `model.residual`, and `model.activation` may be changed.
    pub changes: Changes,
}

/// Keys that a fault or a healthy variation may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Changes {
    pub normalization: bool,
    pub residual: bool,
    pub activation: bool,
    pub dropout: bool,
    /// Whether the network has no normalization.
    pub is_plain: bool,
    /// Whether it has batch normalization.
    pub has_batch_norm: bool,
}

const fn changes(letters: &str) -> Changes {
    let bytes = letters.as_bytes();
    let (mut place, mut found) = (0, [false; 6]);
    while place < bytes.len() {
        match bytes[place] {
            b'n' => found[0] = true,
            b'r' => found[1] = true,
            b'a' => found[2] = true,
            b'd' => found[3] = true,
            b'p' => found[4] = true,
            b'b' => found[5] = true,
            _ => panic!("letters are n, r, a, d, p, and b"),
        }
        place += 1;
    }
    let [normalization, residual, activation, dropout, is_plain, has_batch_norm] = found;
    Changes { normalization, residual, activation, dropout, is_plain, has_batch_norm }
}

/// One line per family: name, format of the images, learning rates, keys that may change (see [`changes`]), and `[model]`.
macro_rules! families {
    ($($name:literal $form:ident [$sgd:literal, $adam:literal] $letters:literal $settings:literal;)+) => {
        pub(crate) const FAMILIES: &[Family] = &[$(Family {
            name: $name,
            model: $settings,
            form: Form::$form,
            rates: [$sgd, $adam],
            changes: changes($letters),
        },)+];
    };
}

families! {
    "mlp" Gray28 [0.05, 1e-3] "nradp" "name=mlp width=64 depth=4 initialization=kaiming_normal";
    "mlp-norm" Gray28 [0.05, 1e-3] "nradb" "name=mlp width=48 depth=8 normalization=batch residual=true";
    "lenet5" Gray28 [0.02, 1e-3] "nadp" "name=lenet5 initialization=kaiming_normal";
    "cnn" Gray28 [0.02, 1e-3] "nradp" "name=cnn width=8 depth=6 initialization=kaiming_normal";
    "vgg11" Gray32 [0.02, 1e-3] "nradp" "name=vgg11 width=8 dropout=0.0 initialization=kaiming_normal";
    "vgg16-norm" Gray32 [0.05, 1e-3] "nadb" "name=vgg16 width=8 dropout=0.0 normalization=batch";
    "resnet8" Gray28 [0.1, 3e-3] "nradb" "name=resnet8 width=8";
    "resnet20" Gray28 [0.1, 3e-3] "nradb" "name=resnet20 width=8";
    "resnet56" Gray28 [0.1, 3e-3] "nadb" "name=resnet56 width=4";
    "resnet18" Color32 [0.05, 1e-3] "nradb" "name=resnet18 width=8";
    "resnet50" Gray32 [0.05, 1e-3] "nadb" "name=resnet50 width=8";
    "densenet121" Gray32 [0.05, 2e-3] "adb" "name=densenet121 width=8";
    "mobilenet_v2" Gray32 [0.05, 2e-3] "adb" "name=mobilenet_v2 width=8";
    "mobilenet_v3" Gray32 [0.05, 3e-3] "db" "name=mobilenet_v3_small width=8";
    "efficientnet" Color32 [0.05, 2e-3] "db" "name=efficientnet_b0 width=8 dropout=0.0";
    "convnext" Gray32 [0.1, 4e-3] "d" "name=convnext_tiny width=8";
    "vit" Gray28 [0.02, 5e-4] "d" "name=vit_tiny width=48 patch_size=4";
    "deit" Gray32 [0.02, 5e-4] "d" "name=deit_tiny width=48 patch_size=8";
    "nfnet" Gray32 [0.05, 1e-3] "d" "name=nfnet_f0 width=16 dropout=0.0";
    "dm_nfnet" Color32 [0.05, 1e-3] "d" "name=dm_nfnet_f0 width=16 dropout=0.0";
    "nasnet" Gray32 [0.05, 1e-3] "db" "name=nasnet_cifar width=2";
    "binary" Gray28 [0.1, 3e-3] "b" "name=binary_resnet20 width=8";
}

/// Optimizers, with the factor of the family's rate of SGD or Adam.
pub(crate) const OPTIMIZERS: [(&str, usize, f64); 7] = [
    ("sgd", 0, 1.0),
    ("adamw", 1, 1.0),
    ("rmsprop", 1, 0.3),
    ("adam", 1, 1.0),
    ("lamb", 1, 5.0),
    ("radam", 1, 1.0),
    ("lion", 1, 0.2),
];

impl Family {
    /// Learning rate of an optimizer that trains the family.
    pub(crate) fn rate(&self, optimizer: &str) -> f64 {
        let (_, of, factor) = OPTIMIZERS.into_iter().find(|(name, ..)| *name == optimizer).expect("a known optimizer");
        self.rates[of] * factor
    }
}
