//! A macro for closed sets whose members have a name in configs.

/// A closed set whose members have a name.
pub trait Named: Copy + 'static {
    /// Every member, in the order of declaration.
    const MEMBERS: &'static [Self];

    /// The member's name in configs.
    fn label(self) -> &'static str;
}

/// Declares an enum whose variants have a name: `ALL`, `name()`, `FromStr`, `Display` and serde agree on it.
macro_rules! named_enum {
    ($(#[$meta:meta])* pub enum $enum:ident { $($(#[$doc:meta])* $variant:ident = $name:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $enum { $($(#[$doc])* $variant,)+ }

        impl $enum {
            /// Every member, in the order of declaration.
            pub const ALL: &[$enum] = &[$($enum::$variant,)+];

            /// The member's name in configs.
            pub const fn name(self) -> &'static str {
                match self { $($enum::$variant => $name,)+ }
            }
        }

        impl $crate::config::Named for $enum {
            const MEMBERS: &'static [Self] = Self::ALL;

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
                Self::ALL.iter().copied().find(|member| member.name() == name).ok_or(())
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

pub(crate) use named_enum;
