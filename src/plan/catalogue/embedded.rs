//! The catalogue files compiled into the program, so that a plan needs no network and no installation.

/// File name and text, in load order.
pub(super) const FILES: [(&str, &str); 12] = [
    ("sources.toml", include_str!("../../../manifests/options/sources.toml")),
    ("regions.toml", include_str!("../../../manifests/options/regions.toml")),
    ("assumptions.toml", include_str!("../../../manifests/options/assumptions.toml")),
    ("s3.toml", include_str!("../../../manifests/options/s3.toml")),
    ("internet.toml", include_str!("../../../manifests/options/internet.toml")),
    ("vpn.toml", include_str!("../../../manifests/options/vpn.toml")),
    ("datasync.toml", include_str!("../../../manifests/options/datasync.toml")),
    ("direct-connect.toml", include_str!("../../../manifests/options/direct-connect.toml")),
    ("snow.toml", include_str!("../../../manifests/options/snow.toml")),
    ("terminal.toml", include_str!("../../../manifests/options/terminal.toml")),
    ("own-drives.toml", include_str!("../../../manifests/options/own-drives.toml")),
    ("streams.toml", include_str!("../../../manifests/options/streams.toml")),
];
