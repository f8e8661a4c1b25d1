//! Who may do what in the registry: asked by it, answered by the cloud whose name the request came by.

/// One cloud's rule. Pure: no I/O, the answer is for this request alone.
pub(crate) trait Access: Send + Sync + 'static {
    /// `host` = the cloud's registry host that the request came by, `None` on the loopback face.
    /// `authorization` = the header as it came (`Bearer …`, `Basic …`).
    /// `name` = `HOST/PROJECT/REPO/IMAGE` on both faces; empty for what belongs to no repository (`/v2/`, `/v2/token`, `/v2/_catalog`).
    fn check(&self, host: Option<&str>, authorization: Option<&str>, name: &str, action: Action) -> Result<(), Denied>;
}

/// What a request does to a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Pull,
    Push,
    Delete,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// No token, or one that is not known: 401 with a challenge.
    Unauthenticated,
    /// A known caller without the permission: 403 with the cloud's own text.
    Forbidden { message: String },
}
