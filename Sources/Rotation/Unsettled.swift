/// What a rotation has only while something is unsettled: a look at what an earlier run left, a
/// failure, a request. Most identities have none of it most of the time, so it takes memory only
/// then.
struct Unsettled {
  /// The token of an earlier run that the deliveries in `agreeing` were found to hold.
  var candidate: Token?
  var agreeing = Positions()
  /// The pauses since the last complete delivery, and when the next try is.
  var backoff = Backoff()
  var retryAt: Instant?
  /// The failure of each delivery, by position, and of minting.
  var failures: [Int: Failure] = [:]
  /// The last report that the oldest token in a delivery was stale or expired, and when that one
  /// ends.
  var reported: (expiry: Instant, freshness: Freshness)?
  /// Whether a new token waits to be signed elsewhere, or is.
  var signing = Signing.nothing
  /// Whether a new token was asked for and is yet to be issued.
  var isForced = false
  /// Once it was issued: which it was, and the deliveries that have neither got it, nor failed to.
  var forcedIssue = 0
  var unanswered = Positions()
  /// The requests that wait for that.
  var requests: [RotationRequest.ID] = []

  enum Signing {
    case nothing
    /// Others come before.
    case waiting
    case underWay
    /// The same, but somebody has asked for a newer one since.
    case outrun
  }

  /// Whether it is as in the beginning.
  var isEmpty: Bool {
    candidate == nil && agreeing.isEmpty && backoff.isFresh && retryAt == nil && failures.isEmpty
      && reported == nil && signing == .nothing && !isForced && forcedIssue == 0
      && unanswered.isEmpty && requests.isEmpty
  }

  /// A place of its own for it, while it is not empty; a value like any other.
  struct Place {
    fileprivate final class Box: Sendable {
      let value: Unsettled

      static let empty = Box(Unsettled())

      init(_ value: Unsettled) { self.value = value }
    }

    fileprivate private(set) var box = Box.empty

    fileprivate var value: Unsettled {
      get { box.value }
      set {
        if !newValue.isEmpty { box = Box(newValue) } else if box !== Box.empty { box = Box.empty }
      }
    }
  }
}

/// As if it were always there.
extension RotationState {
  var candidate: Token? {
    get { unsettled.box.value.candidate }
    set { unsettled.value.candidate = newValue }
  }
  var agreeing: Positions {
    get { unsettled.box.value.agreeing }
    set { unsettled.value.agreeing = newValue }
  }
  var backoff: Backoff {
    get { unsettled.box.value.backoff }
    set { unsettled.value.backoff = newValue }
  }
  var retryAt: Instant? {
    get { unsettled.box.value.retryAt }
    set { unsettled.value.retryAt = newValue }
  }
  var failures: [Int: Failure] {
    get { unsettled.box.value.failures }
    set { unsettled.value.failures = newValue }
  }
  var reported: (expiry: Instant, freshness: Freshness)? {
    get { unsettled.box.value.reported }
    set { unsettled.value.reported = newValue }
  }
  var signing: Unsettled.Signing {
    get { unsettled.box.value.signing }
    set { unsettled.value.signing = newValue }
  }
  var isForced: Bool {
    get { unsettled.box.value.isForced }
    set { unsettled.value.isForced = newValue }
  }
  var forcedIssue: Int {
    get { unsettled.box.value.forcedIssue }
    set { unsettled.value.forcedIssue = newValue }
  }
  var unanswered: Positions {
    get { unsettled.box.value.unanswered }
    set { unsettled.value.unanswered = newValue }
  }
  var requests: [RotationRequest.ID] {
    get { unsettled.box.value.requests }
    set { unsettled.value.requests = newValue }
  }
}
