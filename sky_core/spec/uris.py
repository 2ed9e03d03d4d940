"""Which URIs lead anywhere: those of the clouds' object stores, and of whatever else fsspec opens."""

from __future__ import annotations

from sky_core.facts import schemes

ALSO = ("file", "gcs", "s3a")  # the machine's own disk, and other spellings of what the clouds' facts name


def check_scheme(uri: str) -> None:
    """See that a URI's scheme is one by which machines reach data.

    Raises:
        ValueError: naming those that are usual.
    """
    scheme = uri.partition("://")[0]
    if scheme in ALSO or scheme in schemes() or "{" in scheme:  # the last: a template, known only when it is rendered
        return
    from fsspec.registry import known_implementations, registry  # slow to load, and rarely asked

    if scheme not in known_implementations and scheme not in registry:
        usual = ", ".join(f"{name}://" for name in sorted(schemes()))
        raise ValueError(f"{uri!r}: no store is reached by {scheme}://; write one of {usual}, or file://")
