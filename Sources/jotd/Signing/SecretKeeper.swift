import Rotation

/// Keeps an eye on the secret's source while the daemon runs: a rewritten file is noticed by
/// inotify(7) at once, and by its status at every wake-up in case a watch was lost; what cannot be
/// read is tried again, as often as a delivery.
@MainActor
final class SecretKeeper {
  enum News {
    case read(HMACSigner, warnings: [String], hadFailed: Bool)
    case failed(Failure)
  }

  /// When to look again although nothing happened; nil while all is well.
  private(set) var retryAt: Instant?

  private let reader: SecretReader
  private var seen: FileStatus?
  private var failure: Failure?
  private var attempts = 0
  private var fileWatch: FileWatch?

  /// `reader` has read the secret; `seen` is its source's fingerprint from before that.
  init(_ reader: SecretReader, seen: FileStatus?) {
    self.reader = reader
    self.seen = seen
  }

  /// Calls `changed` after something happened near the secret's file.
  func watch(changed: @escaping @MainActor () -> Void) {
    guard let path = reader.path else { return }
    fileWatch = FileWatch(path) { [weak self] in
      guard let self, reader.fingerprint != seen else { return }
      // Whoever writes it gets a moment to finish.
      retryAt = .now + .milliseconds(20)
      changed()
    }
  }

  /// What is new since the last look; nil when nothing is, or it is not time.
  func look(at now: Instant) -> News? {
    guard reader.path != nil else { return nil }
    if let retryAt, now < retryAt, retryAt - now <= Limits.longestRetry * 2 { return nil }
    let found = reader.fingerprint
    guard found != seen || failure != nil else {
      retryAt = nil
      return nil
    }
    seen = found
    fileWatch?.renew()
    do {
      let (signer, warnings) = try reader.signer()
      let hadFailed = failure != nil
      failure = nil
      attempts = 0
      retryAt = nil
      return .read(signer, warnings: warnings, hadFailed: hadFailed)
    } catch {
      let pause = min(Limits.firstRetry * (1 << min(attempts, 16)), Limits.longestRetry)
      attempts += 1
      retryAt = now + pause
      defer { failure = error }
      return failure == error ? nil : .failed(error)
    }
  }
}
