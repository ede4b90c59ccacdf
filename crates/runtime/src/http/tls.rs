//! TLS: rustls with ring, chosen once for the process, since rustls asks for it process-wide.
use std::sync::Once;

/// Makes ring the provider of every TLS client and server here. A second call changes nothing.
pub(crate) fn provider() {
    static CHOSEN: Once = Once::new();
    CHOSEN.call_once(|| {
        // An error means that whoever embeds us has chosen before.
        let _chosen_before = rustls::crypto::ring::default_provider().install_default();
    });
}
