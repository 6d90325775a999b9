//! The steps that get images, and what they wait for.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{ContainerSpec, IMAGE_CONTEXT, ImageSpec, ResourceId, ResourceKind, split_registry};
use crate::plan::{Action, Cause, Choice, ImageUse, Step, StepId, Verb};

use super::{Planner, dependents, wanted_services};

impl Planner<'_> {
    pub(super) fn images(&mut self, wanted: &[&ContainerSpec]) {
        let mut made: BTreeMap<String, StepId> = BTreeMap::new();
        // builds take turns: what others wait for goes first, then what takes longest to prepare
        let mut wanted = wanted.to_vec();
        let needs = wanted_services(self.wish);
        // a task's image is its service's, which it is called after
        wanted.sort_by_cached_key(|spec| {
            let rank = std::cmp::Reverse((dependents(spec, &needs), self.is_prepared(spec)));
            (spec.task.is_some(), rank)
        });
        for container in &wanted {
            let (spec, pull, build) = match self.wish.supply.choices.get(&container.service) {
                Some(Choice::Obtain { spec, pull, build }) => (spec, pull, build),
                Some(Choice::Present { reference, .. }) => {
                    self.load(container, reference);
                    continue;
                }
                None => continue,
            };
            let key = spec.key().to_owned();
            let step = match made.get(&key) {
                Some(step) => step.clone(),
                None => {
                    // a service with only a build is named by its tag, which says less than its name
                    let verb = if *pull { Verb::Get } else { Verb::Build };
                    let id = ResourceId::new(ResourceKind::Image, &spec.reference);
                    let name = if *pull { spec.reference.clone() } else { container.service.clone() };
                    let cause = if self.observed.images.contains_key(&spec.reference) {
                        Cause::Changed { what: vec!["image".into()] }
                    } else {
                        Cause::Missing
                    };
                    let after = if *pull { None } else { self.base(spec) };
                    let action = Action::ObtainImage { spec: spec.clone(), pull: *pull, build: *build };
                    // two builds may bear one name
                    let step = verb.image(&name);
                    let step = if self.has(&step) { format!("{step} of {}", container.service) } else { step };
                    self.add_as(step, id, &container.service, action, cause, after.into_iter().collect())
                }
            };
            made.insert(key, step.clone());
            self.obtained.insert(container.service.clone(), step);
        }
        self.built_from();
    }

    /// An image of the bundle, once for all who run it.
    fn load(&mut self, container: &ContainerSpec, reference: &str) {
        let Some(image) = self.observed.to_load(reference) else { return };
        let loads = |step: &&Step| matches!(&step.action, Action::LoadImage { id } if id == image);
        let step = match self.steps.iter().find(loads) {
            Some(step) => step.id.clone(),
            None => {
                let id = ResourceId::new(ResourceKind::Image, reference);
                let action = Action::LoadImage { id: image.to_owned() };
                self.add(Verb::Load, id, &container.service, action, Cause::Missing, Vec::new())
            }
        };
        self.obtained.insert(container.service.clone(), step);
    }

    /// A build that takes files of an image follows the step that gets this image.
    fn built_from(&mut self) {
        let image = |step: &Step| match &step.action {
            Action::ObtainImage { spec, .. } => Some(spec.reference.clone()),
            _ => None,
        };
        let mut got: BTreeMap<String, StepId> =
            self.steps.iter().filter_map(|step| Some((image(step)?, step.id.clone()))).collect();
        for step in &self.steps {
            let Action::LoadImage { id } = &step.action else { continue };
            let names = self.observed.bundled.iter().filter(|(_, bundled)| bundled.id == *id);
            got.extend(names.map(|(name, _)| (name.clone(), step.id.clone())));
        }
        for step in &mut self.steps {
            let Action::ObtainImage { spec, .. } = &step.action else { continue };
            let contexts = spec.build.iter().flat_map(|build| build.spec.contexts.values());
            let first = contexts.filter_map(|place| got.get(place.strip_prefix(IMAGE_CONTEXT)?));
            let first: Vec<StepId> = first.filter(|id| **id != step.id).cloned().collect();
            step.after.extend(first);
        }
    }

    /// An image that lies in the platform's own registry can be pulled once that one answers.
    pub(super) fn own_registry(&mut self, wanted: &[&ContainerSpec]) {
        let gate = |registry: &str, image: &ImageSpec| {
            // the ingress holds the ports of some, and is no more use without them than they without it
            let holds = |spec: &&&ContainerSpec| {
                let ports = spec.ports.iter().chain(&spec.guarded);
                let addresses = ports.filter_map(|port| Some((port.host_ip, port.host_port?)));
                addresses.map(std::net::SocketAddr::from).any(|address| address.to_string() == registry)
            };
            let holders: Vec<_> = wanted.iter().filter(holds).collect();
            let own = holders.iter().any(|holder| image.services.contains(&holder.service));
            let gates = holders.into_iter().filter(|_| !own);
            gates.map(|holder| Verb::Await.container(&holder.name)).collect::<Vec<StepId>>()
        };
        let known: BTreeSet<StepId> = self.steps.iter().map(|step| step.id.clone()).collect();
        for step in &mut self.steps {
            let Action::ObtainImage { spec, pull: true, .. } = &step.action else { continue };
            let hosts = spec.pull.iter().map(|reference| split_registry(reference).0);
            let gates: Vec<StepId> = hosts.flat_map(|host| gate(host, spec)).filter(|id| known.contains(id)).collect();
            step.after.extend(gates);
        }
    }

    /// Its build begins with work on the host.
    fn is_prepared(&self, spec: &ContainerSpec) -> bool {
        match self.wish.supply.choices.get(&spec.service) {
            Some(Choice::Obtain { spec, pull: false, .. }) => {
                spec.build.as_ref().is_some_and(|build| !build.prepare.is_empty())
            }
            _ => false,
        }
    }

    /// The step that makes the base of a build. Where a pull comes first the base is made only when
    /// that fails, as part of the build.
    fn base(&mut self, spec: &ImageSpec) -> Option<StepId> {
        let base = spec.build.as_ref()?.base.as_ref()?;
        if base.names().any(|name| self.observed.images.contains_key(&name)) {
            return None;
        }
        let id = ResourceId::new(ResourceKind::Image, &base.reference);
        let step = Verb::Make.step(&id);
        if self.has(&step) {
            return Some(step);
        }
        Some(self.add(Verb::Make, id, "base image", Action::MakeBase(base.clone()), Cause::Missing, Vec::new()))
    }

    pub(super) fn image_use(&self, service: &str) -> Option<ImageUse> {
        match self.wish.supply.choices.get(service)? {
            Choice::Present { reference, source, .. } => {
                Some(ImageUse::Present { reference: reference.clone(), source: *source })
            }
            Choice::Obtain { .. } => Some(ImageUse::Obtained { step: self.obtained.get(service)?.clone() }),
        }
    }
}
