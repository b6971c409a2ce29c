import Rotation
import Synchronization

/// What the rotator last said of every identity, for the threads that answer callers. A token is
/// read here without waiting for a rotation.
final class StatusStore: Sendable {
  /// All that is not about a single identity.
  struct General: Sendable {
    var access: Access
    var keys: Keys
    var publications: [PublicationStatus] = []
    var rings: [KeyRingStatus] = []
    /// The configuration in force; nil when its files could not be told apart.
    var configuration: ConfigurationVersion?
    var lateness = Lateness()
    /// Why the last reload was refused; nil when all is well.
    var refusedReload: String?
    /// What is wrong with the secrets, by the names of their keys.
    var secretFaults: [String: String] = [:]
    /// What is wrong with hooks, each in a sentence.
    var hookFaults: [String] = []
    var reloads = 0
    var refusedReloads = 0
  }

  private struct State {
    var general: General
    /// By the numbers of the identities.
    var statuses: [IdentityStatus] = []
    var numbers: [String: Int] = [:]
    var handedOut: [Holder: ArraySlice<UInt8>] = [:]

    subscript(name: String) -> IdentityStatus? { numbers[name].map { statuses[$0] } }

    /// The names of those whose token is another one now, or does not come.
    @discardableResult
    mutating func take(_ turn: Turn) -> [String] {
      if let keys = turn.keys { general.keys = keys }
      if let publications = turn.publications { general.publications = publications }
      if let numbers = turn.numbers {
        self.numbers = numbers
        statuses = turn.changed
        return statuses.map(\.identity.name)
      }
      return turn.changed.compactMap { status in
        let before = statuses[status.number]
        statuses[status.number] = status
        let isOther = status.token?.compact != before.token?.compact
        return isOther || status.token == nil && !status.isAwaited ? status.identity.name : nil
      }
    }
  }

  private struct Holder: Hashable {
    let unit: String
    let identity: String
  }

  private let state: Mutex<State>

  init(_ general: General) { state = Mutex(State(general: general)) }

  var general: General { state.withLock(\.general) }

  func change(_ edit: @Sendable (inout General) -> Void) {
    state.withLock { edit(&$0.general) }
  }

  /// Publishes a configuration that is in force from now on, with how its identities stand: at
  /// once, so that nobody finds a token of one configuration by the rules of another.
  func apply(_ settings: Settings, _ turn: Turn) {
    let access = Access(settings)
    state.withLock { state in
      state.general.access = access
      state.general.configuration = settings.version
      state.general.refusedReload = nil
      state.general.secretFaults = [:]
      state.general.reloads += 1
      state.take(turn)
    }
  }

  /// Publishes how those identities stand that changed, and how late rotations began; gives the
  /// names of those whose token is another one now, or does not come.
  func publish(_ turn: Turn) -> [String] {
    state.withLock { state in
      state.general.lateness = turn.totals.lateness
      return state.take(turn)
    }
  }

  subscript(name: String) -> IdentityStatus? { state.withLock { $0[name] } }

  /// How an identity stands, and the rules that hold for it: of the same moment.
  func look(_ name: String) -> (status: IdentityStatus?, access: Access) {
    state.withLock { ($0[name], $0.general.access) }
  }

  /// Notes that a unit is handed this token of an identity as its credential, which it keeps until
  /// it starts again. Whether it is the first that this is known of.
  func handOut(_ token: Token, of identity: String, to unit: String) -> Bool {
    state.withLock { state in
      if state.handedOut.count >= Limits.handedOut { state.handedOut = [:] }
      let holder = Holder(unit: unit, identity: identity)
      return state.handedOut.updateValue(token.signature, forKey: holder) == nil
    }
  }

  /// Whether what the unit was handed last is the token that the identity has now.
  func isCurrent(_ unit: String, _ identity: String) -> Bool {
    state.withLock { state in
      guard let token = state[identity]?.token else { return false }
      return state.handedOut[Holder(unit: unit, identity: identity)] == token.signature
    }
  }

  /// The names of identities of which something fails, the first of so many.
  func failing(upTo count: Int) -> [String] {
    Array(all.lazy.filter { !$0.failures.isEmpty }.map(\.identity.name).prefix(count))
  }

  /// All identities, by name.
  var all: [IdentityStatus] {
    state.withLock(\.statuses).sorted { $0.identity.name < $1.identity.name }
  }
}

extension Token {
  /// The last part of a JWS (RFC 7515 section 3.1), which no other token has.
  fileprivate var signature: ArraySlice<UInt8> {
    ArraySlice(Array(compact[(compact.lastIndex(of: UInt8(ascii: ".")) ?? 0)...]))
  }
}
