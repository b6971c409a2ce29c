/// What comes of one step: all that the host is to do, to publish and to answer.
package struct Turn: Sendable {
  /// What is to be done, in this order.
  package internal(set) var actions: [Action] = []
  /// How those identities stand that changed, in the order of the configuration.
  package internal(set) var changed: [IdentityStatus] = []
  /// The number of each identity, by its name, when the input was a new configuration: then all of
  /// them are in `changed`. Nil otherwise.
  package internal(set) var numbers: [String: Int]?
  /// How all publications stand, when that may have changed.
  package internal(set) var publications: [PublicationStatus]?
  /// When the next step is to come at the latest; nil when there is nothing to wait for. Not after
  /// this one where that is unfinished.
  package internal(set) var nextWake: Instant?
  /// Whether identities that are due wait for the next step, so that others are not held up.
  package internal(set) var isUnfinished = false
  /// The requests of which every token is delivered, or failed to be: each is answered once.
  package internal(set) var answered: [RotationRequest.ID] = []
  /// The keys from now on, with what is still believed; nil when they are as before.
  package internal(set) var keys: Keys?
  /// What a new configuration changed; nil when the input was none.
  package internal(set) var changes: Changes?
  package internal(set) var totals = Totals()
}

/// The identities together.
package struct Totals: Sendable, Equatable {
  package internal(set) var identities = 0
  /// Those that have a failure now.
  package internal(set) var failing = 0
  /// Publications that have a failure now.
  package internal(set) var failingPublications = 0
  /// Subjects that were neither delivered nor reported as failing since they were configured.
  package internal(set) var unsettled = 0
  /// Jobs that were ordered and have not come back.
  package internal(set) var jobs = 0
  /// How late rotations began, since the daemon did.
  package internal(set) var lateness = Lateness()

  package init() {}
}

/// How late rotations began, as a histogram: seconds after they were due.
package struct Lateness: Sendable, Equatable {
  /// Upper bounds in seconds; one more bucket is for all that is later.
  package static let bounds = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 10, 60]
  /// Counts up to and including each bound, not cumulative.
  package private(set) var counts = [Int](repeating: 0, count: bounds.count + 1)
  package private(set) var sum = 0.0

  package init() {}

  mutating func record(_ late: Duration) {
    let seconds = max(0, Double(late.microseconds) / 1e6)
    counts[Lateness.bounds.firstIndex { seconds <= $0 } ?? Lateness.bounds.count] += 1
    sum += seconds
  }
}
