/// How near its end a token is: the one rule of what is fresh.
package enum Freshness: Int, Comparable, Sendable, CustomStringConvertible {
  /// It has more than `refresh_before` to live.
  case fresh
  /// It has that much to live, or less.
  case stale
  /// It has ended.
  case expired
  /// There is none.
  case missing

  /// The word for it in answers and metrics.
  package var description: String {
    switch self {
    case .fresh: "fresh"
    case .stale: "stale"
    case .expired: "expired"
    case .missing: "missing"
    }
  }

  package static func < (left: Freshness, right: Freshness) -> Bool {
    left.rawValue < right.rawValue
  }
}

extension Identity {
  /// The freshness of a token of this identity that ends at `expiry`.
  package func freshness(ofTokenExpiring expiry: Instant, at now: Instant) -> Freshness {
    if expiry <= now { return .expired }
    return staleness(ofTokenExpiring: expiry) <= now ? .stale : .fresh
  }

  /// From when on a token of this identity that ends at `expiry` is stale: its threshold.
  func staleness(ofTokenExpiring expiry: Instant) -> Instant { expiry - refreshBefore }
}
