"""Serves one program of OpenStack in the foreground.

Usage:
    openstack_serve.py swift CONFIGURATION SECTION
    openstack_serve.py wsgi MODULE:ATTRIBUTE PORT

Swift's own programs leave the process group of the one who started them. Here they stay in it, so that whoever ends
the group ends them. What they log goes to the standard error.

Keystone and Glance are WSGI applications. They read the command line, so that it is emptied before they are loaded;
their configuration files are named by OS_KEYSTONE_CONFIG_FILES or by OS_GLANCE_CONFIG_DIR.
"""

import importlib
import os
import sys
import warnings


def swift(configuration, section):
    from swift.common import utils

    # Before anything else of Swift is loaded, because its limits are read then, and only once.
    utils.set_swift_dir(os.path.dirname(configuration))
    from swift.common.wsgi import run_wsgi

    os.setsid = lambda: None
    return run_wsgi(configuration, section, verbose=True)


def wsgi(application, port):
    import waitress

    module, attribute = application.split(":")
    served = getattr(importlib.import_module(module), attribute)
    # One thread, because SQLite refuses one of two that write at once, which no other database does. It is not held
    # up by a slow client: what comes and what goes is kept in files, without a limit, and the thread sees it whole.
    unlimited = 1 << 50
    waitress.serve(
        served,
        host="127.0.0.1",
        port=int(port),
        threads=1,
        max_request_body_size=unlimited,
        outbuf_high_watermark=unlimited,
        connection_limit=1000,
        channel_timeout=600,
    )


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    program, *arguments = sys.argv[1:]
    sys.argv = sys.argv[:1]
    sys.exit({"swift": swift, "wsgi": wsgi}[program](*arguments))
