//! A macro for enums whose members have a name in configs.

/// An enum whose members have a name in configs.
pub trait Named: Copy + 'static {
    /// All members, in declaration order.
    const MEMBERS: &'static [Self];

    /// Name of the member in configs.
    fn label(self) -> &'static str;
}

/// Declares an enum with named variants. `ALL`, `name()`, `FromStr`, `Display`, and serde use the same names.
macro_rules! named_enum {
    ($(#[$meta:meta])* pub enum $enum:ident { $($(#[$doc:meta])* $variant:ident = $name:literal,)+ }) => {
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
