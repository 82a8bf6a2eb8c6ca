//! A macro for enums whose members have a name in configs.

/// An enum whose members have a name in configs.
pub trait Named: Copy + 'static {
    /// All members, in declaration order.
    const MEMBERS: &'static [Self];

    /// Former names, which are still read.
    const ALIASES: &'static [(&'static str, Self)];

    /// Name of the member in configs.
    fn label(self) -> &'static str;

    /// The member with this name or former name.
    fn find(name: &str) -> Option<Self> {
        let member = Self::MEMBERS.iter().copied().find(|member| member.label() == name);
        member.or_else(|| Self::ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, member)| *member))
    }
}

/// Declares an enum with named variants. `ALL`, `name()`, `FromStr`, `Display`, and serde use the same names.
/// `= "name" | "former_name"` declares a former name, which is still read but no longer written.
#[doc(hidden)]
#[macro_export]
macro_rules! named_enum {
    ($(#[$meta:meta])* pub enum $enum:ident { $($(#[$doc:meta])* $variant:ident = $name:literal $(| $alias:literal)*,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $enum { $($(#[$doc])* $variant,)+ }

        impl $enum {
            /// All members, in declaration order.
            pub const ALL: &[$enum] = &[$($enum::$variant,)+];

            /// Name of the member in configs.
            pub const fn name(self) -> &'static str {
                match self { $($enum::$variant => $name,)+ }
            }
        }

        impl $crate::config::Named for $enum {
            const MEMBERS: &'static [Self] = Self::ALL;
            const ALIASES: &'static [(&'static str, Self)] = &[$($(($alias, $enum::$variant),)*)+];

            fn label(self) -> &'static str {
                self.name()
            }
        }

        impl std::fmt::Display for $enum {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl std::str::FromStr for $enum {
            type Err = ();

            fn from_str(name: &str) -> Result<Self, ()> {
                <Self as $crate::config::Named>::find(name).ok_or(())
            }
        }

        impl serde::Serialize for $enum {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $enum {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = <String as serde::Deserialize>::deserialize(deserializer)?;
                name.parse().map_err(|()| serde::de::Error::unknown_variant(&name, &[$($name),+]))
            }
        }
    };
}

pub use named_enum;

#[cfg(test)]
mod tests {
    use crate::config::{Action, Config, InitializationMethod, RuleName, Severity};

    #[test]
    fn former_names_are_read_and_the_new_ones_are_written() {
        let toml = "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\nmodel.activation = \
                    \"sigmoid\"\nmodel.initialization = \"centred_logistic\"\n[[diagnosis.actions]]\nstop = \
                    true\nrules = [\"input_not_normalised\"]";
        let config = Config::parse(toml, "old").unwrap();
        assert_eq!(config.model.initialization.method, InitializationMethod::CenteredLogistic);
        let written = config.to_toml();
        assert!(written.contains("centered_logistic") && !written.contains("centred_logistic"), "{written}");
        assert_eq!(Config::parse(&written, "new").unwrap(), config);
        let answers = |action: &Action, rule: RuleName| action.answers(rule.name(), Severity::Critical);
        let [action] = &config.diagnosis.actions[..] else { panic!("{config:?}") };
        assert!(answers(action, RuleName::InputNotNormalized) && !answers(action, RuleName::Vanishing));
        assert_eq!("input_not_normalised".parse(), Ok(RuleName::InputNotNormalized));
        assert_eq!("input_not_normalized".parse(), Ok(RuleName::InputNotNormalized));
    }
}
