//! Families of networks with settings that train them, and optimizers with their learning rates.

use crate::images::Form;

/// A family of networks at a small width.
pub(crate) struct Family {
    pub name: &'static str,
    /// Runs one in this many kinds of faults and variations: all if a run takes seconds.
    pub one_in: usize,
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
    /// Whether it takes only the images of `form` and ten classes.
    pub is_fixed: bool,
}

const fn changes(letters: &str) -> Changes {
    let bytes = letters.as_bytes();
    let (mut place, mut found) = (0, [false; 7]);
    while place < bytes.len() {
        match bytes[place] {
            b'n' => found[0] = true,
            b'r' => found[1] = true,
            b'a' => found[2] = true,
            b'd' => found[3] = true,
            b'p' => found[4] = true,
            b'b' => found[5] = true,
            b'f' => found[6] = true,
            _ => panic!("letters are n, r, a, d, p, b, and f"),
        }
        place += 1;
    }
    let [normalization, residual, activation, dropout, is_plain, has_batch_norm, is_fixed] = found;
    Changes { normalization, residual, activation, dropout, is_plain, has_batch_norm, is_fixed }
}

/// One line per family: name, one in how many kinds to run, format of the images, learning rates, keys that may change
/// (see [`changes`]), and `[model]`.
macro_rules! families {
    ($($name:literal $one_in:literal $form:ident [$sgd:literal, $adam:literal] $letters:literal $settings:literal;)+) => {
        pub(crate) const FAMILIES: &[Family] = &[$(Family {
            name: $name,
            one_in: $one_in,
            model: $settings,
            form: Form::$form,
            rates: [$sgd, $adam],
            changes: changes($letters),
        },)+];
    };
}

families! {
    "mlp" 1 Gray28 [0.05, 1e-3] "nradp" "name=mlp width=64 depth=4 initialization=kaiming_normal";
    "mlp-norm" 1 Gray28 [0.05, 1e-3] "nradb" "name=mlp width=48 depth=8 normalization=batch residual=true";
    "lenet5" 1 Gray28 [0.02, 1e-3] "nadp" "name=lenet5 initialization=kaiming_normal";
    "cnn" 1 Gray28 [0.02, 1e-3] "nradp" "name=cnn width=8 depth=6 initialization=kaiming_normal";
    "vgg11" 1 Gray32 [0.02, 1e-3] "nradp" "name=vgg11 width=8 dropout=0.0 initialization=kaiming_normal";
    "vgg16-norm" 3 Gray32 [0.05, 1e-3] "nadb" "name=vgg16 width=8 dropout=0.0 normalization=batch";
    "resnet8" 3 Gray28 [0.1, 3e-3] "nradb" "name=resnet8 width=8";
    "resnet20" 3 Gray28 [0.1, 3e-3] "nradb" "name=resnet20 width=8";
    "resnet56" 3 Gray28 [0.1, 3e-3] "nadb" "name=resnet56 width=4";
    "resnet18" 1 Color32 [0.05, 1e-3] "nradb" "name=resnet18 width=8";
    "resnet50" 3 Gray32 [0.05, 1e-3] "nadb" "name=resnet50 width=8";
    "densenet121" 3 Gray32 [0.05, 2e-3] "adb" "name=densenet121 width=8";
    "mobilenet_v2" 3 Gray32 [0.05, 2e-3] "adb" "name=mobilenet_v2 width=8";
    "mobilenet_v3" 3 Gray32 [0.05, 3e-3] "db" "name=mobilenet_v3_small width=8";
    "efficientnet" 3 Color32 [0.05, 2e-3] "db" "name=efficientnet_b0 width=8 dropout=0.0";
    "convnext" 1 Gray32 [0.1, 4e-3] "d" "name=convnext_tiny width=8";
    "vit" 3 Gray28 [0.02, 5e-4] "d" "name=vit_tiny width=48 patch_size=4";
    "deit" 3 Gray32 [0.02, 5e-4] "d" "name=deit_tiny width=48 patch_size=8";
    "nfnet" 3 Gray32 [0.05, 1e-3] "d" "name=nfnet_f0 width=16 dropout=0.0";
    "dm_nfnet" 3 Color32 [0.05, 1e-3] "d" "name=dm_nfnet_f0 width=16 dropout=0.0";
    "nasnet" 3 Gray32 [0.05, 1e-3] "db" "name=nasnet_cifar width=2";
    "binary" 3 Gray28 [0.1, 3e-3] "b" "name=binary_resnet20 width=8";
    "mlp-tanh" 1 Gray28 [0.05, 1e-3] "ndp" "name=mlp width=64 depth=10 activation=tanh initialization=xavier_normal";
    "cnn-group" 1 Gray28 [0.05, 2e-3] "nrad" "name=cnn width=16 depth=8 normalization=group groups=4";
    "vgg19-norm" 3 Color32 [0.05, 1e-3] "nadb" "name=vgg19 width=8 dropout=0.0 normalization=batch";
    "resnet34" 3 Gray32 [0.05, 1e-3] "nradb" "name=resnet34 width=8";
    "mobilenet_v3_large" 3 Gray32 [0.05, 3e-3] "db" "name=mobilenet_v3_large width=8";
    "vit_small" 1 Color32 [0.02, 5e-4] "d" "name=vit_small width=48 patch_size=8";
    "binary_resnet18" 1 Color32 [0.1, 3e-3] "b" "name=binary_resnet18 width=8";
    "finetuned" 3 Color32 [5e-3, 3e-4] "dbf" "name=mobilenet_v2 weights=models/mobilenet_v2-b0353104.pth";
    "ts-resnext" 3 Gray32 [0.05, 1e-3] "f" "name=torchscript path=target/diagnosis-traces/nets/resnext.pt";
    "ts-shufflenet" 1 Gray32 [0.05, 2e-3] "f" "name=torchscript path=target/diagnosis-traces/nets/shufflenet.pt";
    "ts-squeezenet" 3 Gray32 [0.02, 1e-3] "f" "name=torchscript path=target/diagnosis-traces/nets/squeezenet.pt";
    "ts-mnasnet" 3 Gray32 [0.05, 2e-3] "f" "name=torchscript path=target/diagnosis-traces/nets/mnasnet.pt";
    "ts-regnet" 3 Gray32 [0.05, 2e-3] "f" "name=torchscript path=target/diagnosis-traces/nets/regnet.pt";
    "ts-swin" 3 Gray32 [0.02, 1e-3] "f" "name=torchscript path=target/diagnosis-traces/nets/swin.pt";
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

/// Whether runs of the family take more than a few seconds.
pub(crate) fn is_slow(name: &str) -> bool {
    FAMILIES.iter().any(|family| family.name == name && family.one_in > 1)
}
