"""Where bytes are kept. One file a kind; `base` is the promise, `registry` the list of kinds."""
