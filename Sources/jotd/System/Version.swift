/// The version of jotd, as `jotd --version` prints it (semver.org).
let version = "0.1.0"
