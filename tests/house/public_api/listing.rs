//! One line for each public item, its members indented below it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use quote::ToTokens;
use syn::{
    Attribute, Fields, GenericParam, Generics, ImplItem, Item, ItemImpl, Signature, TraitItem,
    Type,
    visit::{self, Visit},
};

use super::source::{
    Place, World, attributes, condition, has, is_built, is_hidden, is_public, leaves, made_by,
};

/// The public interface of one crate.
pub(crate) struct Listing {
    /// By public path. Hidden from the documentation or not.
    entries: BTreeMap<String, Entry>,
    /// Where what is public is defined.
    public: BTreeSet<Place>,
    /// What public signatures name, and where they do.
    named: BTreeMap<Place, String>,
}

struct Entry {
    head: String,
    members: Vec<String>,
    methods: usize,
    is_hidden: bool,
}

/// Where the walk is.
#[derive(Clone)]
struct Here {
    /// The public path so far.
    path: String,
    features: BTreeSet<String>,
    is_hidden: bool,
}

impl Here {
    fn inside(&self, name: &str, attributes: &[Attribute]) -> Self {
        let mut features = self.features.clone();
        features.extend(condition(attributes));
        Self {
            path: format!("{}::{name}", self.path),
            features,
            is_hidden: self.is_hidden || is_hidden(attributes),
        }
    }
}

impl Listing {
    pub(crate) fn of(world: &World, root: &str) -> Self {
        let mut listing = Self {
            entries: BTreeMap::new(),
            public: BTreeSet::new(),
            named: BTreeMap::new(),
        };
        let here = Here {
            path: root.to_owned(),
            features: BTreeSet::new(),
            is_hidden: false,
        };
        listing.walk(world, &[root.to_owned()], &here);
        listing
    }

    /// Types, traits, functions, constants and modules that the documentation shows.
    pub(crate) fn items(&self) -> usize {
        self.shown().count()
    }

    /// Methods and associated constants of those.
    pub(crate) fn methods(&self) -> usize {
        self.shown().map(|(_, entry)| entry.methods).sum()
    }

    /// The paths that the documentation shows.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.shown().map(|(path, _)| path.as_str())
    }

    fn shown(&self) -> impl Iterator<Item = (&String, &Entry)> {
        self.entries.iter().filter(|(_, entry)| !entry.is_hidden)
    }

    /// What a public signature names and no public path leads to.
    pub(crate) fn unreachable(&self) -> Vec<String> {
        let hidden = self
            .named
            .iter()
            .filter(|(place, _)| !self.public.contains(place));
        hidden
            .map(|(place, by)| {
                format!("{}::{}, named by {by}", place.module.join("::"), place.name)
            })
            .collect()
    }

    fn walk(&mut self, world: &World, module: &[String], here: &Here) {
        for item in &world.module(module).unwrap().items {
            match item {
                Item::Mod(inner) if is_public(&inner.vis) => {
                    let name = inner.ident.to_string();
                    let inside = here.inside(&name, &inner.attrs);
                    self.add(&inside, &Head::plain("mod"), Members::none(world));
                    self.walk(world, &[module, &[name]].concat(), &inside);
                }
                Item::Use(import) if is_public(&import.vis) => {
                    for (path, alias) in leaves(&import.tree) {
                        let Some(place) = world.resolve(module, &path) else {
                            panic!("{}: `{}` is not found", here.path, path.join("::"));
                        };
                        self.describe(world, &place, &here.inside(&alias, &import.attrs));
                    }
                }
                other => {
                    if let Some(name) = public_name(other) {
                        let place = Place {
                            module: module.to_vec(),
                            name: name.clone(),
                        };
                        self.describe(world, &place, &here.inside(&name, attributes(other)));
                    }
                }
            }
        }
    }

    fn add(&mut self, here: &Here, head: &Head, members: Members<'_>) {
        let features: Vec<_> = here.features.iter().cloned().collect();
        let features = match features.as_slice() {
            [] => String::new(),
            features => format!(" [{}]", features.join(", ")),
        };
        // What is implemented comes last, wherever it stands in the source.
        let is_impl = |line: &String| line.starts_with("impl ") || line.starts_with("impl<");
        let (implemented, mut lines): (Vec<_>, Vec<_>) =
            members.lines.into_iter().partition(is_impl);
        lines.extend(implemented);
        let entry = Entry {
            head: format!("{} {}{}{features}", head.kind, here.path, head.suffix),
            members: lines,
            methods: members.methods,
            is_hidden: here.is_hidden,
        };
        let twice = self.entries.insert(here.path.clone(), entry);
        assert!(twice.is_none(), "{} is public twice", here.path);
    }

    fn describe(&mut self, world: &World, place: &Place, here: &Here) {
        let item = world
            .definition(place)
            .unwrap_or_else(|| panic!("{place:?} has no definition"));
        let mut members = Members::none(world);
        members.named.module.clone_from(&place.module);
        let head = members.of_definition(item, place);
        members.of_impls(place);
        if !here.is_hidden {
            self.public.insert(place.clone());
            let by = here.path.clone();
            let named = std::mem::take(&mut members.named.found);
            self.named
                .extend(named.into_iter().map(|named| (named, by.clone())));
        }
        self.add(here, &head, members);
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (items, methods) = (self.items(), self.methods());
        writeln!(
            f,
            "# The public interface of hallpass-verify with all features: {items} items (types, traits, functions,\n\
             # constants, modules) and {methods} methods. Written by `UPDATE_PUBLIC_API=1 cargo test --test house public_api`."
        )?;
        for (is_hidden, title) in [
            (false, ""),
            (
                true,
                "# Hidden from the documentation, no part of the interface.",
            ),
        ] {
            if is_hidden {
                writeln!(f, "\n{title}")?;
            }
            for entry in self
                .entries
                .values()
                .filter(|entry| entry.is_hidden == is_hidden)
            {
                writeln!(f, "\n{}", entry.head)?;
                for member in &entry.members {
                    writeln!(f, "    {member}")?;
                }
            }
        }
        Ok(())
    }
}

/// What comes before an item's path, and what follows it.
struct Head {
    kind: &'static str,
    suffix: String,
}

impl Head {
    fn plain(kind: &'static str) -> Self {
        Self {
            kind,
            suffix: String::new(),
        }
    }

    fn with(kind: &'static str, generics: &Generics) -> Self {
        let mut head = Self::plain(kind);
        if !generics.params.is_empty() {
            head.suffix = format!("<{}>", tidy(&generics.params));
        }
        head
    }
}

/// What is public in an item, line by line.
struct Members<'w> {
    lines: Vec<String>,
    methods: usize,
    named: Names<'w>,
}

impl<'w> Members<'w> {
    fn none(world: &'w World) -> Self {
        Self {
            lines: Vec::new(),
            methods: 0,
            named: Names::in_module(world, &[]),
        }
    }

    /// The members of the definition itself; gives what stands around the item's path.
    fn of_definition(&mut self, item: &Item, place: &Place) -> Head {
        self.attributes(attributes(item));
        match item {
            Item::Struct(item) => {
                self.named.with(&item.generics);
                self.fields(&item.fields, true);
                Head::with("struct", &item.generics)
            }
            Item::Enum(item) => {
                self.named.with(&item.generics);
                for variant in &item.variants {
                    self.named.visit_fields(&variant.fields);
                    let fields = match &variant.fields {
                        Fields::Unit => String::new(),
                        Fields::Unnamed(fields) => {
                            let types = fields.unnamed.iter().map(|field| tidy(&field.ty));
                            format!("({})", types.collect::<Vec<_>>().join(", "))
                        }
                        Fields::Named(fields) => {
                            let named = |field: &syn::Field| {
                                format!("{}: {}", field.ident.as_ref().unwrap(), tidy(&field.ty))
                            };
                            let fields: Vec<_> = fields.named.iter().map(named).collect();
                            format!(" {{ {} }}", fields.join(", "))
                        }
                    };
                    self.lines
                        .push(format!("variant {}{fields}", variant.ident));
                }
                Head::with("enum", &item.generics)
            }
            Item::Trait(item) => {
                self.named.with(&item.generics);
                for member in &item.items {
                    if let TraitItem::Fn(method) = member {
                        let provided = if method.default.is_some() {
                            " { … }"
                        } else {
                            ""
                        };
                        self.method(&method.sig, provided);
                    } else {
                        self.lines.push(tidy(member));
                    }
                }
                let mut head = Head::with("trait", &item.generics);
                head.suffix += &format!(": {}", tidy(&item.supertraits));
                head
            }
            Item::Fn(item) => {
                self.named.with(&item.sig.generics);
                self.named.visit_signature(&item.sig);
                self.lines.push(tidy(&item.sig));
                Head::plain("fn")
            }
            Item::Const(item) => {
                self.named.visit_type(&item.ty);
                self.lines
                    .push(format!("{} = {}", tidy(&item.ty), tidy(&item.expr)));
                Head::plain("const")
            }
            Item::Type(item) => {
                self.named.visit_type(&item.ty);
                self.lines.push(format!("= {}", tidy(&item.ty)));
                Head::with("type", &item.generics)
            }
            Item::Macro(made) => self.made(made, place),
            _ => panic!("{place:?}: a kind of item that the listing does not know"),
        }
    }

    /// A type that one of our macros writes.
    fn made(&mut self, made: &syn::ItemMacro, place: &Place) -> Head {
        let by = made.mac.path.get_ident().unwrap().to_string();
        let rules = self.named.world.macro_rules(&place.module, &by);
        if by == "text_id" {
            let (_, body) = rules.split_once("=>").unwrap();
            let body = body.trim().trim_end_matches(';').trim();
            let body = body.strip_prefix('{').unwrap().strip_suffix('}').unwrap();
            let body = body
                .replace("$ (# [$ doc]) *", "")
                .replace("$ name", &place.name)
                .replace("$ valid", "valid")
                .replace("$ kind", "\"\"")
                .replace("$ expected", "\"\"");
            let file = syn::parse_str::<syn::File>(&body)
                .unwrap_or_else(|error| panic!("{}: {error}: {body}", place.name));
            for item in &file.items {
                match item {
                    Item::Struct(_) => drop(self.of_definition(item, place)),
                    Item::Impl(block) => self.of_impl(block),
                    _ => panic!("{by} writes something that the listing does not know"),
                }
            }
            return Head::plain("struct");
        }
        self.lines.push("#[non_exhaustive]".to_owned());
        assert!(rules.contains("# [non_exhaustive]"), "{rules}");
        for (at, start) in rules.match_indices("pub const") {
            let end = rules[at..].find(['{', '=']).unwrap();
            self.lines
                .push(tidy_text(&rules[at..][start.len() - 5..end]));
            self.methods += 1;
        }
        for code in hallpass_verify::ReasonCode::ALL {
            self.lines.push(format!("variant {code:?} = \"{code}\""));
        }
        Head::plain("enum")
    }

    fn attributes(&mut self, attributes: &[Attribute]) {
        if has(attributes, "non_exhaustive") {
            self.lines.push("#[non_exhaustive]".to_owned());
        }
        let mut derived: Vec<String> = attributes
            .iter()
            .filter(|attribute| attribute.path().is_ident("derive"))
            .filter_map(|attribute| attribute.meta.require_list().ok())
            .flat_map(|list| {
                let all = tidy(&list.tokens);
                all.split(", ").map(str::to_owned).collect::<Vec<_>>()
            })
            .collect();
        derived.sort();
        if !derived.is_empty() {
            self.lines.push(format!("derive {}", derived.join(", ")));
        }
    }

    fn fields(&mut self, fields: &Fields, only_public: bool) {
        let shown = |field: &&syn::Field| !only_public || is_public(&field.vis);
        for (at, field) in fields.iter().enumerate().filter(|(_, field)| shown(field)) {
            self.named.visit_type(&field.ty);
            let name = field
                .ident
                .as_ref()
                .map_or(at.to_string(), ToString::to_string);
            self.lines
                .push(format!("field {name}: {}", tidy(&field.ty)));
        }
    }

    fn method(&mut self, signature: &Signature, suffix: &str) {
        let mut named = Names {
            generics: self.named.generics.clone(),
            found: BTreeSet::new(),
            ..Names::in_module(self.named.world, &self.named.module)
        };
        named.with(&signature.generics);
        named.visit_signature(signature);
        self.named.found.extend(named.found);
        self.lines.push(format!("{}{suffix}", tidy(signature)));
        self.methods += 1;
    }

    /// Everything that is implemented for the type at `place`, anywhere in its crate.
    fn of_impls(&mut self, place: &Place) {
        let world = self.named.world;
        for (path, module) in world.all_modules(&place.module) {
            let own = std::mem::replace(&mut self.named.module, path.clone());
            for item in &module.items {
                let Item::Impl(block) = item else { continue };
                if !is_built(&path, &block.attrs) {
                    continue;
                }
                let Type::Path(of) = &*block.self_ty else {
                    continue;
                };
                let segments = of
                    .path
                    .segments
                    .iter()
                    .map(|segment| segment.ident.to_string());
                let of: Vec<String> = segments.collect();
                if world.resolve(&path, &of).as_ref() == Some(place) {
                    self.of_impl(block);
                }
            }
            self.named.module = own;
        }
    }

    fn of_impl(&mut self, block: &ItemImpl) {
        self.named.with(&block.generics);
        if let Some((_, implemented, _)) = &block.trait_ {
            let (generics, bounds, _) = (&block.generics.params, &block.generics.where_clause, ());
            let generics = if generics.is_empty() {
                String::new()
            } else {
                format!("<{}>", tidy(generics))
            };
            let bounds = tidy(bounds).trim_end_matches(',').to_owned();
            let line = format!("impl{generics} {} {bounds}", tidy(implemented));
            self.lines.push(line.trim_end().to_owned());
            return;
        }
        for member in &block.items {
            match member {
                ImplItem::Fn(method)
                    if is_public(&method.vis)
                        && !is_hidden(&method.attrs)
                        && is_built(&self.named.module, &method.attrs) =>
                {
                    let needs = condition(&method.attrs).map(|condition| format!(" [{condition}]"));
                    self.method(&method.sig, &needs.unwrap_or_default());
                }
                ImplItem::Const(constant) if is_public(&constant.vis) => {
                    self.named.visit_type(&constant.ty);
                    self.lines
                        .push(format!("const {}: {}", constant.ident, tidy(&constant.ty)));
                    self.methods += 1;
                }
                _ => {}
            }
        }
    }
}

/// Collects the types of our crates that a signature names.
struct Names<'w> {
    world: &'w World,
    module: Vec<String>,
    generics: BTreeSet<String>,
    found: BTreeSet<Place>,
}

impl<'w> Names<'w> {
    fn in_module(world: &'w World, module: &[String]) -> Self {
        Self {
            world,
            module: module.to_vec(),
            generics: BTreeSet::new(),
            found: BTreeSet::new(),
        }
    }

    fn with(&mut self, generics: &Generics) {
        for parameter in &generics.params {
            if let GenericParam::Type(parameter) = parameter {
                self.generics.insert(parameter.ident.to_string());
            }
        }
    }
}

impl<'ast> Visit<'ast> for Names<'_> {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string());
        let segments: Vec<String> = segments.collect();
        let is_generic = self.generics.contains(&segments[0]);
        if !is_generic && segments[0] != "Self" {
            self.found
                .extend(self.world.resolve(&self.module, &segments));
        }
        visit::visit_path(self, path);
    }
}

fn public_name(item: &Item) -> Option<String> {
    let (visibility, name) = match item {
        Item::Struct(item) => (&item.vis, &item.ident),
        Item::Enum(item) => (&item.vis, &item.ident),
        Item::Trait(item) => (&item.vis, &item.ident),
        Item::Type(item) => (&item.vis, &item.ident),
        Item::Const(item) => (&item.vis, &item.ident),
        Item::Static(item) => (&item.vis, &item.ident),
        Item::Fn(item) => (&item.vis, &item.sig.ident),
        Item::Macro(item) => return made_by(item),
        _ => return None,
    };
    is_public(visibility).then(|| name.to_string())
}

fn tidy(tokens: &impl ToTokens) -> String {
    tidy_text(&tokens.to_token_stream().to_string())
}

/// Tokens as people write them.
fn tidy_text(text: &str) -> String {
    let mut text = text.replace('\n', " ");
    for (from, to) in [
        ("  ", " "),
        (" :: ", "::"),
        ("& ", "&"),
        (" < ", "<"),
        ("< ", "<"),
        (" >", ">"),
        (" ,", ","),
        (" ;", ";"),
        (" :", ":"),
        ("( ", "("),
        (" )", ")"),
        (" (", "("),
        ("->(", "-> ("),
        (",)", ")"),
        (", >", ">"),
        (",>", ">"),
        ("[ ", "["),
        (" ]", "]"),
        ("# [", "#["),
        ("= >", "=>"),
    ] {
        while from != ",)" && text.contains(from) && !to.contains(from) {
            text = text.replace(from, to);
        }
        text = text.replace(from, to);
    }
    text.trim().to_owned()
}
