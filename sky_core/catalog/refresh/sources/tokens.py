"""Tokens for price APIs that want one, from each SDK's own credential chain."""

from __future__ import annotations

from collections.abc import Callable

from sky_core.errors import AuthError, MissingExtra


def token(cloud: str, get: Callable[[], str]) -> str:
    try:
        return get()
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or cloud, cloud) from None
    except AuthError:
        raise
    except Exception as error:
        raise AuthError(f"{cloud}: no usable credentials: {error}") from error
