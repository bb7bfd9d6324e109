"""Who may ask: by which names, and pages of which sites. It is the browsers' visitors that this protects.

A page elsewhere can have its visitor's browser send a form here, though it cannot read the answer; and it can have a
name of its own point here (DNS rebinding), so that the browser takes the two for one site.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from plantdoc.serving.handler.refusal import Refused

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_OWN = ("same-origin", "none")  # in Sec-Fetch-Site, which browsers alone write


@dataclass(frozen=True)
class Callers:
    """Names and origins.

    `hosts` are the names by which the server may be asked, without a port; empty: any. `origins` are those of other
    pages that may ask, like https://example.org.
    """

    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()

    def admit(self, headers: Mapping[str, str]) -> None:
        """Let a request through by its headers, whose names are in lower case.

        Raises:
            Refused: 403, it has another host, or comes from a page of another origin.
        """
        host = headers.get("host", "").lower()
        if self.hosts and re.sub(r":\d*$", "", host).removesuffix(".") not in self.hosts:
            names = " or ".join(self.hosts)
            raise Refused(403, "other_name", f"this server is asked as {names}; --allow-host adds a name")
        origin = headers.get("origin")
        if origin in self.origins:
            return
        site = headers.get("sec-fetch-site")
        if site is not None:
            own = site in _OWN
        else:  # an old browser, or one that reached the server over http by another name than localhost
            hosts = {host, headers.get("x-forwarded-host", "").lower()} - {""}
            own = origin is None or urlsplit(origin).netloc.lower() in hosts
        if not own:
            message = "this server answers its own page, not those of other origins; --allow-origin adds one"
            raise Refused(403, "cross_site", message)
