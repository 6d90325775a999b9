//! What is known while a service is compiled.

use crate::model::{Platform, Route, Stack, Stream};

use super::{Site, TemplateContext};

/// What every service of a stack shares while it is compiled.
pub(super) struct Scene<'a> {
    pub platform: &'a Platform,
    pub stack: &'a Stack,
    pub site: &'a Site<'a>,
    pub routes: &'a [Route],
    pub streams: &'a [Stream],
    pub context: &'a TemplateContext,
}
