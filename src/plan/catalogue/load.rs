//! Puts the catalogue together: the compiled files, then a user's file over them, field by field.

use serde::Serialize;
use toml::{Table, Value};

use super::{Catalogue, Error, check, embedded};

/// One field that a user's file replaced.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Override {
    /// Where, such as `option.snowball-edge-so-210.figures.extra_day.value`.
    pub field: String,
    /// The catalogue's own value, empty where it had none.
    pub default: String,
    /// The user's value.
    pub yours: String,
}

impl Catalogue {
    /// The catalogue as compiled into the program.
    ///
    /// # Errors
    /// When a compiled file breaks a rule; the tests make sure that none does.
    pub fn builtin() -> Result<Self, Error> {
        Self::with_user_file(None)
    }

    /// The compiled catalogue with the fields of a user's file (name, text) laid over it. Entries are matched by `id`;
    /// an entry with a new id is added; what was replaced is kept in `overrides`.
    ///
    /// # Errors
    /// When the file is not TOML, has an unknown field, or breaks a rule of the catalogue.
    pub fn with_user_file(user: Option<(&str, &str)>) -> Result<Self, Error> {
        // A slip in the user's file is told before the larger work begins.
        let theirs = user.map(|(name, text)| parse(name, text).map(|table| (name, table))).transpose()?;
        let mut table = Table::new();
        let mut overrides = Vec::new();
        for (file, text) in embedded::FILES {
            merge(&mut table, parse(file, text)?, "", &mut Vec::new());
        }
        let mut file = "built in";
        if let Some((name, mut theirs)) = theirs {
            file = name;
            mark_as_given(&mut theirs, name);
            merge(&mut table, theirs, "", &mut overrides);
        }
        let syntax = |source| Error::Syntax { file: file.to_owned(), source: Box::new(source) };
        let mut catalogue: Self = Value::Table(table).try_into().map_err(syntax)?;
        catalogue.overrides = overrides;
        check::check(&catalogue)?;
        Ok(catalogue)
    }
}

fn parse(file: &str, text: &str) -> Result<Table, Error> {
    text.parse().map_err(|source| Error::Syntax { file: file.to_owned(), source: Box::new(source) })
}

/// Figures in a user's file need only a value: the rest is the user's word.
fn mark_as_given(table: &mut Table, file: &str) {
    if table.contains_key("value") {
        table.entry("confidence").or_insert_with(|| "given".into());
        table.entry("source").or_insert_with(|| format!("yours ({file})").into());
    }
    for (_, value) in table.iter_mut() {
        match value {
            Value::Table(inner) => mark_as_given(inner, file),
            Value::Array(items) => {
                items.iter_mut().filter_map(Value::as_table_mut).for_each(|inner| mark_as_given(inner, file));
            }
            _ => {}
        }
    }
}

/// Lays `over` upon `base`: tables field by field, arrays of tables with an `id` entry by entry, the rest as a whole.
fn merge(base: &mut Table, over: Table, path: &str, overrides: &mut Vec<Override>) {
    for (key, value) in over {
        let field = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match (base.get_mut(&key), value) {
            (Some(Value::Table(inner)), Value::Table(value)) => merge(inner, value, &field, overrides),
            (Some(Value::Array(items)), Value::Array(values)) if has_ids(&values) => {
                merge_entries(items, values, &field, overrides);
            }
            (old, value) => {
                let default = old.map(|v| plain(v)).unwrap_or_default();
                let yours = plain(&value);
                if default != yours && !matches!(key.as_str(), "confidence" | "source" | "as_of") {
                    overrides.push(Override { field, default, yours });
                }
                base.insert(key, value);
            }
        }
    }
}

fn merge_entries(items: &mut Vec<Value>, values: Vec<Value>, path: &str, overrides: &mut Vec<Override>) {
    for value in values {
        let id = id_of(&value).unwrap_or_default().to_owned();
        let known = items.iter_mut().find(|item| id_of(item) == Some(&id)).and_then(Value::as_table_mut);
        match (known, value) {
            (Some(known), Value::Table(value)) => merge(known, value, &format!("{path}.{id}"), overrides),
            (_, value) => {
                let field = format!("{path}.{id}");
                overrides.push(Override { field, default: String::new(), yours: "new entry".to_owned() });
                items.push(value);
            }
        }
    }
}

fn has_ids(values: &[Value]) -> bool {
    values.iter().all(|value| id_of(value).is_some())
}

fn id_of(value: &Value) -> Option<&str> {
    value.as_table()?.get("id")?.as_str()
}

/// A value as a person would write it.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
