//! The source of some crates, read module by module, and names resolved in it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use syn::{Attribute, Item, ItemMacro, UseTree, Visibility};

/// Crates by name.
pub(crate) struct World(BTreeMap<String, Module>);

/// One module with the modules inside.
pub(crate) struct Module {
    pub(crate) items: Vec<Item>,
    modules: BTreeMap<String, Self>,
}

/// Where an item is defined: its crate, its module, its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) module: Vec<String>,
    pub(crate) name: String,
}

impl World {
    pub(crate) fn read(crates: &[(&str, &Path)]) -> Self {
        let read = |(name, root): &(&str, &Path)| {
            let file = parse(&root.join("lib.rs"));
            ((*name).to_owned(), Module::read(file.items, root))
        };
        Self(crates.iter().map(read).collect())
    }

    pub(crate) fn module(&self, path: &[String]) -> Option<&Module> {
        let (first, rest) = path.split_first()?;
        rest.iter()
            .try_fold(self.0.get(first)?, |module, name| module.modules.get(name))
    }

    /// Every module of the crate that `path` is in, with its path, but those behind a feature of a crate below.
    pub(crate) fn all_modules<'w>(&'w self, path: &[String]) -> Vec<(Vec<String>, &'w Module)> {
        let mut found = Vec::new();
        let mut open = vec![(vec![path[0].clone()], &self.0[&path[0]])];
        while let Some((path, module)) = open.pop() {
            for (name, inner) in &module.modules {
                let declares =
                    |item: &&Item| matches!(item, Item::Mod(inner) if inner.ident == name);
                let declared = module
                    .items
                    .iter()
                    .find(declares)
                    .map_or(&[][..], attributes);
                if !is_built(&path, declared) {
                    continue;
                }
                open.push(([path.clone(), vec![name.clone()]].concat(), inner));
            }
            found.push((path, module));
        }
        found.sort_by(|one, other| one.0.cmp(&other.0));
        found
    }

    /// Where what `segments` names in the module `from` is defined; `None` when that is in neither crate.
    pub(crate) fn resolve(&self, from: &[String], segments: &[String]) -> Option<Place> {
        let (first, rest) = segments.split_first()?;
        if rest.is_empty() {
            return self.find(from, first);
        }
        self.resolve(&self.module_named(from, first)?, rest)
    }

    fn module_named(&self, from: &[String], name: &str) -> Option<Vec<String>> {
        let inner = || [from.to_vec(), vec![name.to_owned()]].concat();
        match name {
            "crate" => Some(from[..1].to_vec()),
            "self" => Some(from.to_vec()),
            "super" => Some(from[..from.len() - 1].to_vec()),
            name if self.0.contains_key(name) => Some(vec![name.to_owned()]),
            _ if self.module(&inner()).is_some() => Some(inner()),
            _ => self.module(from)?.items.iter().find_map(|item| {
                let Item::Use(import) = item else { return None };
                let leaves = leaves(&import.tree);
                let (path, _) = leaves.into_iter().find(|(_, alias)| alias == name)?;
                let mut module = from.to_vec();
                for segment in path {
                    module = self.module_named(&module, &segment)?;
                }
                Some(module)
            }),
        }
    }

    /// What `name` is in `module`: defined there, or brought there by `use`. Modules are not looked for.
    fn find(&self, module: &[String], name: &str) -> Option<Place> {
        let here = self.module(module)?;
        if here.items.iter().any(|item| defines(item, name)) {
            return Some(Place {
                module: module.to_vec(),
                name: name.to_owned(),
            });
        }
        here.items.iter().find_map(|item| {
            let Item::Use(import) = item else { return None };
            let leaves = leaves(&import.tree);
            let (path, _) = leaves.into_iter().find(|(_, alias)| alias == name)?;
            self.resolve(module, &path)
        })
    }

    /// The definition at `place`.
    pub(crate) fn definition(&self, place: &Place) -> Option<&Item> {
        let defines_it = |item: &&Item| defines(item, &place.name);
        self.module(&place.module)?.items.iter().find(defines_it)
    }

    /// The rules of the macro `name`, as text.
    pub(crate) fn macro_rules(&self, module: &[String], name: &str) -> String {
        let is_it = |item: &&Item| matches!(item, Item::Macro(rules) if rules.ident.as_ref().is_some_and(|ident| ident == name));
        let Some(Item::Macro(rules)) = self.module(module).unwrap().items.iter().find(is_it) else {
            panic!("the macro `{name}` is not beside its use");
        };
        rules.mac.tokens.to_string()
    }
}

impl Module {
    fn read(items: Vec<Item>, directory: &Path) -> Self {
        let mut modules = BTreeMap::new();
        let items: Vec<_> = items
            .into_iter()
            .filter(|item| !is_for_tests(attributes(item)))
            .collect();
        for item in &items {
            let Item::Mod(module) = item else { continue };
            let name = module.ident.to_string();
            let inner = match &module.content {
                Some((_, items)) => Self::read(items.clone(), &directory.join(&name)),
                None => {
                    let files = [
                        directory.join(format!("{name}.rs")),
                        directory.join(&name).join("mod.rs"),
                    ];
                    let file: &PathBuf = files.iter().find(|file| file.exists()).unwrap();
                    Self::read(parse(file).items, &directory.join(&name))
                }
            };
            modules.insert(name, inner);
        }
        Self { items, modules }
    }
}

fn parse(file: &Path) -> syn::File {
    let text = fs::read_to_string(file).unwrap();
    syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Every name that a `use` brings, with the path that it stands for.
pub(crate) fn leaves(tree: &UseTree) -> Vec<(Vec<String>, String)> {
    let before = |name: &syn::Ident, inner: Vec<(Vec<String>, String)>| {
        let prefixed = |(path, alias): (Vec<String>, String)| {
            let path = [vec![name.to_string()], path].concat();
            // `use a::{self}` brings `a`.
            if alias == "self" {
                let path = path[..path.len() - 1].to_vec();
                let alias = path.last().unwrap().clone();
                (path, alias)
            } else {
                (path, alias)
            }
        };
        inner.into_iter().map(prefixed).collect()
    };
    match tree {
        UseTree::Path(path) => before(&path.ident, leaves(&path.tree)),
        UseTree::Name(name) => vec![(vec![name.ident.to_string()], name.ident.to_string())],
        UseTree::Rename(name) => vec![(vec![name.ident.to_string()], name.rename.to_string())],
        UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
        UseTree::Glob(_) => Vec::new(),
    }
}

fn defines(item: &Item, name: &str) -> bool {
    let ident = match item {
        Item::Struct(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Const(item) => &item.ident,
        Item::Static(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => return made_by(item).is_some_and(|made| made == name),
        _ => return false,
    };
    ident == name
}

/// The name of the type that an invocation of one of our macros defines.
pub(crate) fn made_by(item: &ItemMacro) -> Option<String> {
    let text = item.mac.tokens.to_string();
    match item.mac.path.get_ident()?.to_string().as_str() {
        "text_id" => {
            // The first identifier behind the documentation.
            let text = text
                .rsplit_once(']')
                .map_or(text.as_str(), |(_, rest)| rest);
            let name = text.split(',').next()?.trim();
            Some(name.to_owned())
        }
        "reason_codes" => Some("ReasonCode".to_owned()),
        _ => None,
    }
}

pub(crate) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Struct(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Const(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        _ => &[],
    }
}

pub(crate) fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    condition(attributes).is_some_and(|condition| condition == "test")
}

/// What stands in `#[cfg(…)]`.
pub(crate) fn condition(attributes: &[Attribute]) -> Option<String> {
    let list = attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"))
        .find_map(|attribute| attribute.meta.require_list().ok())?;
    Some(list.tokens.to_string())
}

/// Whether it is there for users: they get the other crates without features, which are for the broker.
pub(crate) fn is_built(module: &[String], attributes: &[Attribute]) -> bool {
    module[0] == "hallpass_verify" || condition(attributes).is_none()
}

pub(crate) fn has(attributes: &[Attribute], name: &str) -> bool {
    attributes
        .iter()
        .any(|attribute| attribute.path().is_ident(name))
}

pub(crate) fn is_hidden(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("doc")
            && attribute
                .meta
                .require_list()
                .is_ok_and(|list| list.tokens.to_string() == "hidden")
    })
}
