import Rotation

/// Keeps an eye on the secrets of all keys, on each by itself: one that hangs keeps no other.
@MainActor
final class SecretWatchers {
  private var watchers: [SecretWatcher] = []
  private let inotify: Inotify?
  private let hear: @MainActor (_ key: String, SecretWatcher.News) -> Void

  /// `hear` is called on the main queue with what is new, and the name of the key that it is about.
  init(
    _ inotify: Inotify?, hear: @escaping @MainActor (_ key: String, SecretWatcher.News) -> Void
  ) {
    self.inotify = inotify
    self.hear = hear
  }

  /// When to look again although nothing happened; nil while all is well.
  var retryAt: Instant? { watchers.compactMap(\.retryAt).min() }

  /// Watches these from now on, and no others; `fingerprint` is that of the secret's source from
  /// before it was read. Those that `keys` lack are tried again.
  func watch(_ secrets: [(loader: SecretLoader, fingerprint: FileStatus?)], _ keys: Keys) {
    watchers = secrets.map { loader, fingerprint in
      let name = loader.key.label.name
      return SecretWatcher(
        loader, inotify, seen: fingerprint, failure: keys[name]?.absence
      ) { [hear] in hear(name, $0) }
    }
  }

  /// Nothing could be signed with the keys of these names.
  func doubt(_ keys: Set<String>) {
    for watcher in watchers where keys.contains(watcher.name) { watcher.doubt() }
  }

  /// Looks at each, if it is time.
  func look(at now: Instant) { for watcher in watchers { watcher.look(at: now) } }
}
