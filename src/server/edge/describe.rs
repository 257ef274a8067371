//! The OpenAPI description of what extractors read: each describes itself, once.

use std::sync::Arc;

use axum::{extract::State, handler::Handler, http::HeaderMap};
use utoipa::openapi::{RefOr, path::Parameter};
use utoipa_axum::router::UtoipaMethodRouter;

use crate::server::App;

/// What an extractor reads beside the body and the path: it describes that itself, so that no route has to.
pub(crate) trait Described {
    /// Its parameters.
    fn parameters() -> Vec<Parameter> {
        Vec::new()
    }
}

/// The extractors of a handler, as axum lists them.
pub(crate) trait Extractors {
    /// The parameters of all.
    fn parameters() -> Vec<Parameter>;
}

macro_rules! extractors {
    ($($name:ident),*) => {
        impl<Via, $($name: Described),*> Extractors for (Via, $($name,)*) {
            fn parameters() -> Vec<Parameter> {
                let each: Vec<Vec<Parameter>> = vec![$($name::parameters()),*];
                each.into_iter().flatten().collect()
            }
        }
    };
}

extractors!(A);
extractors!(A, B);
extractors!(A, B, C);
extractors!(A, B, C, D);
extractors!(A, B, C, D, E);
extractors!(A, B, C, D, E, F);

impl Described for State<Arc<App>> {}
impl Described for HeaderMap {}

/// The routes of one handler, described with what its extractors read.
pub(crate) fn described<H, T>(
    mut routes: UtoipaMethodRouter<Arc<App>>,
    _: &H,
) -> UtoipaMethodRouter<Arc<App>>
where
    H: Handler<T, Arc<App>>,
    T: Extractors,
{
    for item in routes.1.paths.values_mut() {
        let operations = [
            &mut item.get,
            &mut item.put,
            &mut item.post,
            &mut item.delete,
        ];
        for operation in operations.into_iter().flatten() {
            let parameters = T::parameters();
            if !parameters.is_empty() {
                operation
                    .parameters
                    .get_or_insert_default()
                    .extend(parameters.into_iter().map(RefOr::T));
            }
        }
    }
    routes
}
