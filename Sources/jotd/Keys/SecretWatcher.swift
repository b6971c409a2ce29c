import Rotation

/// Keeps an eye on the secret's source while the daemon runs: a rewritten file is noticed by
/// inotify(7) at once, and by its status at every wake-up in case a watch was lost; what cannot be
/// read is tried again, as often as a delivery. Files are touched on a thread of their own, because
/// a disk can hang.
@MainActor
final class SecretWatcher {
  enum News: Sendable {
    /// `isConfirmation`: it was only asked for because it did not sign, and had not failed itself.
    case read(any Signer, warnings: [String], hadFailed: Bool, isConfirmation: Bool)
    case failed(Failure)
    /// As before; `retryAt` has moved.
    case stillFailing
  }

  /// What a look at the source gave.
  private enum Seen: Sendable {
    case unchanged
    case changed(
      FileStatus?, Result<(signer: any Signer, warnings: [String]), Failure>, isDoubt: Bool)
  }

  /// When to look again although nothing happened; nil while all is well, or a look is under way.
  private(set) var retryAt: Instant?

  /// That of the key.
  var name: String { loader.key.label.name }

  private let loader: SecretLoader
  private var seen: FileStatus?
  private var failure: Failure?
  private var backoff = Backoff()
  private var fileWatch: FileWatch?
  private var isLooking = false
  private var isDoubted = false
  /// Something happened since the present look began.
  private var isWanted = false
  private let hear: @MainActor (News) -> Void

  /// `loader` has read the secret, or could not for the reason `failure`; `seen` is its source's
  /// fingerprint from before that. From now on, `hear` is called on the main queue with what is
  /// new.
  init(
    _ loader: SecretLoader, _ inotify: Inotify?, seen: FileStatus?, failure: Failure?,
    hear: @escaping @MainActor (News) -> Void
  ) {
    self.loader = loader
    self.seen = seen
    self.failure = failure
    self.hear = hear
    if failure != nil { retryAt = .now + backoff.next() }
    guard let path = loader.path, let inotify else { return }
    fileWatch = FileWatch(path, inotify) { [weak self] in
      MainQueue.run { self?.look() }
    }
  }

  /// Looks at the source, if it is time: at the next try after a failure, and else whenever asked.
  func look(at now: Instant) {
    if isLooking { return }
    if let retryAt, now < retryAt, retryAt - now <= Limits.longestRetry * 2 { return }
    look()
  }

  /// Nothing could be signed: what holds the key is asked for it again, until it answers.
  func doubt() {
    guard loader.key.secret?.isInDevice == true, failure == nil else { return }
    isDoubted = true
    look()
  }

  private func look() {
    guard loader.path != nil || failure != nil || isDoubted else { return }
    guard !isLooking else {
      isWanted = true
      return
    }
    isLooking = true
    isWanted = false
    retryAt = nil
    let (isFailing, isDoubted) = (failure != nil || isDoubted, isDoubted)
    self.isDoubted = false
    Threads.run { [loader, seen, isFailing, isDoubted, fileWatch] in
      let found = loader.fingerprint
      var news = Seen.unchanged
      if found != seen || isFailing {
        fileWatch?.renew()
        news = .changed(
          found,
          Result { () throws(Failure) in try loader.signer() },
          isDoubt: isDoubted && found == seen)
      }
      let seen = news
      MainQueue.run { [weak self] in self?.finish(seen) }
    }
  }

  private func finish(_ news: Seen) {
    isLooking = false
    defer { if isWanted { look() } }
    guard case .changed(let found, let result, let isDoubt) = news else { return }
    seen = found
    switch result {
    case .success(let (signer, warnings)):
      let hadFailed = failure != nil
      failure = nil
      backoff = Backoff()
      hear(
        .read(
          signer, warnings: warnings, hadFailed: hadFailed, isConfirmation: isDoubt && !hadFailed))
    case .failure(let error):
      retryAt = .now + backoff.next()
      let isNew = failure != error
      failure = error
      hear(isNew ? .failed(error) : .stillFailing)
    }
  }
}
