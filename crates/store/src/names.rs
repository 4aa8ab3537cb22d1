//! Kinds that are stored by name and may be of another version.

/// Declares an enum of kinds that are stored, printed and parsed under one name each. A name that this version does not know is kept as
/// `Other`, so that databases of later versions can be read.
macro_rules! open_names {
    ($(#[$doc:meta])* $name:ident { $($(#[$case_doc:meta])* $case:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$case_doc])* $case,)+
            /// A kind of another version.
            Other(String),
        }

        impl $name {
            /// Every kind of this version.
            pub const ALL: &'static [$name] = &[$($name::$case),+];

            /// The name in the database and in JSON.
            #[must_use]
            pub fn name(&self) -> &str {
                match self {
                    $(Self::$case => $text,)+
                    Self::Other(name) => name,
                }
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                match name {
                    $($text => Self::$case,)+
                    other => Self::Other(other.to_owned()),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl rusqlite::types::ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
                Ok(self.name().into())
            }
        }

        impl rusqlite::types::FromSql for $name {
            fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
                Ok(Self::from(value.as_str()?))
            }
        }
    };
}

pub(super) use open_names;
