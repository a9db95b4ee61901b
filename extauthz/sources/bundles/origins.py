"""Which kind of source the settings name."""

from extauthz.sources.bundles.https import HttpsOrigin
from extauthz.sources.bundles.oci import OciOrigin
from extauthz.sources.bundles.options import SourceOptions
from extauthz.sources.bundles.origin import Origin
from extauthz.sources.bundles.watched import WatchedDirectory


def make_origin(options: SourceOptions) -> Origin:
    """The source, nothing of it opened yet."""
    if options.url:
        return HttpsOrigin(options.url, options.fetch)
    if options.oci:
        return OciOrigin(options.oci, options.fetch)
    return WatchedDirectory(options.place, options.poll_seconds)
