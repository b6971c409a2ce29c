import Rotation
import Synchronization

/// What the rotator last said of every identity, where the query service reads it: the one thing
/// that the two threads share. A token is read here without waiting for a rotation.
final class Noticeboard: Sendable {
  /// All that is not about a single identity.
  struct General: Sendable {
    var access: Access
    var signer: any Signer
    var lateness = Lateness()
    /// Why the last reload was refused, and what is wrong with the secret; nil when all is well.
    var refusedReload: String?
    var secretFault: String?
    /// What is wrong with hooks, each in a sentence.
    var hookFaults: [String] = []
    var reloads = 0
    var refusedReloads = 0
  }

  private struct State {
    var general: General
    var standings: [String: Standing] = [:]
  }

  private let state: Mutex<State>

  init(_ general: General) { state = Mutex(State(general: general)) }

  var general: General { state.withLock(\.general) }

  func change(_ edit: @Sendable (inout General) -> Void) {
    state.withLock { edit(&$0.general) }
  }

  /// Puts up how these identities stand.
  func post(_ standings: [Standing]) {
    state.withLock { state in
      for standing in standings { state.standings[standing.identity.name] = standing }
    }
  }

  /// Takes down the identities that are not in `names`.
  func keep(_ names: Set<String>) {
    state.withLock { state in state.standings = state.standings.filter { names.contains($0.key) } }
  }

  subscript(name: String) -> Standing? { state.withLock { $0.standings[name] } }

  /// All identities, by name.
  var all: [Standing] {
    state.withLock { Array($0.standings.values) }.sorted { $0.identity.name < $1.identity.name }
  }
}
