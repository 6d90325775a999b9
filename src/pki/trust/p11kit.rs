//! Systems that keep their anchors with p11-kit: Fedora and its kin, Arch, openSUSE.
//!
//! `trust anchor --store` would do on all of them, but it chooses the file's name itself and
//! leaves no way to tell ours from others.

use std::path::Path;

use async_trait::async_trait;

use super::anchors::Layout;
use super::{Anchor, Kind, Place, State, Store, StoreError};
use crate::host::Host;
use crate::model::AnyError;

pub(super) struct P11Kit;

const LAYOUTS: [Layout; 3] = [
    // update-ca-trust(8)
    Layout {
        kind: Kind::P11Kit,
        folder: "/etc/pki/ca-trust/source/anchors",
        extension: "pem",
        program: "update-ca-trust",
        args: &["extract"],
        bundle: "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    },
    Layout {
        kind: Kind::P11Kit,
        folder: "/etc/ca-certificates/trust-source/anchors",
        extension: "crt",
        program: "update-ca-trust",
        args: &[],
        bundle: "/etc/ca-certificates/extracted/tls-ca-bundle.pem",
    },
    Layout {
        kind: Kind::P11Kit,
        folder: "/etc/pki/trust/anchors",
        extension: "pem",
        program: "update-ca-certificates",
        args: &[],
        bundle: "/var/lib/ca-certificates/ca-bundle.pem",
    },
];

fn layout(place: &Place) -> Result<&'static Layout, StoreError> {
    let found = LAYOUTS.iter().find(|layout| Path::new(layout.folder) == place.path);
    found.ok_or_else(|| StoreError::Io(AnyError::said(format!("{} is not a folder of anchors", place.path.display()))))
}

#[async_trait]
impl Store for P11Kit {
    async fn places(&self, host: &dyn Host) -> Vec<Place> {
        for layout in &LAYOUTS {
            if let Some(place) = layout.place(host).await {
                return vec![place];
            }
        }
        Vec::new()
    }

    async fn look(&self, host: &dyn Host, place: &Place, anchor: &Anchor) -> Result<State, StoreError> {
        layout(place)?.look(host, anchor).await
    }

    async fn add(&self, host: &dyn Host, place: &Place, anchor: &Anchor, certificate: &Path) -> Result<(), StoreError> {
        layout(place)?.add(host, anchor, certificate).await
    }

    async fn remove(
        &self,
        host: &dyn Host,
        place: &Place,
        anchor: &Anchor,
        _: &Path,
        _: bool,
    ) -> Result<(), StoreError> {
        let layout = layout(place)?;
        layout.delete_file(host, anchor).await?;
        layout.update(host).await
    }
}
