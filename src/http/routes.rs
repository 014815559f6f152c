//! Handlers by path, and what each of them says about itself.
//!
//! `utoipa::path` at a handler has its path, its methods and its description. The first two are
//! wanted at the start, the description only by who asks for it: made at the start, those of all
//! handlers would be more than half of the memory of an idle broker.

use axum::Router;
use axum::routing::{MethodFilter, MethodRouter};
use utoipa::openapi::{HttpMethod, OpenApi};

use super::api::Api;

/// Says what the handlers of one path do.
pub(super) type Describe = fn() -> OpenApi;

/// The handlers of one path, made by [`routes!`].
pub(super) struct Route {
    pub path: String,
    pub handlers: MethodRouter<Api>,
    pub describe: Describe,
}

/// Everything that is answered, by path.
#[derive(Default)]
pub(super) struct Routes {
    router: Router<Api>,
    describe: Vec<Describe>,
}

impl Routes {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn add(mut self, route: Route) -> Self {
        self.describe.push(route.describe);
        Self { router: self.router.route(&route.path, route.handlers), ..self }
    }

    pub fn merge(mut self, other: Self) -> Self {
        self.describe.extend(other.describe);
        Self { router: self.router.merge(other.router), ..self }
    }

    pub fn split(self) -> (Router<Api>, Vec<Describe>) {
        (self.router, self.describe)
    }
}

/// What axum calls these methods.
pub(super) fn filter(methods: &[HttpMethod]) -> MethodFilter {
    let filter = |method: &HttpMethod| match method {
        HttpMethod::Get => MethodFilter::GET,
        HttpMethod::Put => MethodFilter::PUT,
        HttpMethod::Post => MethodFilter::POST,
        HttpMethod::Delete => MethodFilter::DELETE,
        HttpMethod::Head => MethodFilter::HEAD,
        HttpMethod::Patch => MethodFilter::PATCH,
        HttpMethod::Options => MethodFilter::OPTIONS,
        HttpMethod::Trace => MethodFilter::TRACE,
    };
    methods.iter().map(filter).reduce(MethodFilter::or).unwrap_or(MethodFilter::GET)
}

/// The [`Route`] of handlers that have the same path in their `utoipa::path`.
macro_rules! routes {
    ($first:ident $(, $other:ident)* $(,)?) => {
        pastey::paste! {{
            fn describe() -> utoipa::openapi::OpenApi {
                #[derive(utoipa::OpenApi)]
                #[openapi(paths($first $(, $other)*))]
                struct Described;
                <Described as utoipa::OpenApi>::openapi()
            }
            use $crate::http::routes::{Route, filter};
            Route {
                path: <[<__path_ $first>] as utoipa::Path>::path(),
                handlers: axum::routing::MethodRouter::new()
                    .on(filter(&<[<__path_ $first>] as utoipa::Path>::methods()), $first)
                    $(.on(filter(&<[<__path_ $other>] as utoipa::Path>::methods()), $other))*,
                describe,
            }
        }}
    };
}

pub(super) use routes;
