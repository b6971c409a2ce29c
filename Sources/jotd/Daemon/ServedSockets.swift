import Rotation
import Synchronization

/// The query socket and the credential socket, as the configuration has them. A change is prepared
/// beside what is served, which can fail, and then committed, which cannot.
final class ServedSockets: Sendable {
  /// What one of the two becomes.
  fileprivate enum Step: Sendable {
    case keep
    /// The same socket with other attributes, which it has already; these it had before.
    case changed(group: UInt32?, mode: UInt16)
    case replace(Listener?)
  }

  /// A change that waits to be committed or abandoned.
  struct Prepared: Sendable {
    fileprivate let settings: SocketSettings?
    fileprivate let query: Step
    fileprivate let credentials: Step
  }

  private struct State: Sendable {
    var settings: SocketSettings?
    var query: Listener?
    var credentials: Listener?
  }

  private let state = Mutex(State())
  private let makeQuery: @Sendable (SocketSettings) throws(Failure) -> Listener
  private let makeCredentials: @Sendable (Path) throws(Failure) -> Listener

  init(
    query: @escaping @Sendable (SocketSettings) throws(Failure) -> Listener,
    credentials: @escaping @Sendable (Path) throws(Failure) -> Listener
  ) {
    makeQuery = query
    makeCredentials = credentials
  }

  /// Makes the sockets of `wanted` that are not there yet, beside what is served. Until `commit`,
  /// only the group and the mode of a socket that stays change. When one cannot be made, throws
  /// why, with its place in the configuration; then all is as it was. Not for the main queue.
  func prepare(_ wanted: SocketSettings?) throws(Diagnostic) -> Prepared {
    let now = state.withLock(\.self)
    let query = try ServedSockets.locating(wanted?.location) { () throws(Failure) in
      try prepareQuery(wanted, now)
    }
    do {
      let credentials = try ServedSockets.locating(wanted?.credentialsLocation) {
        () throws(Failure) in try prepareCredentials(wanted?.credentials, now)
      }
      return Prepared(settings: wanted, query: query, credentials: credentials)
    } catch {
      undo(query, now.query)
      throw error
    }
  }

  /// Serves what was prepared, and ends what it replaces.
  func commit(_ prepared: Prepared) {
    let old = state.withLock { state -> [Listener] in
      var old: [Listener?] = []
      state.settings = prepared.settings
      if case .replace(let new) = prepared.query {
        old.append(state.query)
        state.query = new
      }
      if case .replace(let new) = prepared.credentials {
        old.append(state.credentials)
        state.credentials = new
      }
      return old.compactMap(\.self)
    }
    close(old)
  }

  /// Takes back what was prepared. Not for the main queue.
  func abandon(_ prepared: Prepared) {
    let now = state.withLock { ($0.query, $0.credentials) }
    undo(prepared.query, now.0)
    undo(prepared.credentials, now.1)
  }

  /// Takes in those who wait, and whoever comes from now on.
  func begin() {
    for listener in state.withLock({ [$0.query, $0.credentials].compactMap(\.self) }) {
      listener.begin()
    }
  }

  /// Whether neither is served.
  var isEmpty: Bool { state.withLock { $0.query == nil && $0.credentials == nil } }

  /// Whether systemd keeps the query socket.
  var isQueryHandedOver: Bool { state.withLock { $0.query?.isHandedOver == true } }

  /// Ends both. Not for the main queue.
  func close() {
    let all = state.withLock { state in
      defer { state = State() }
      return [state.query, state.credentials].compactMap(\.self)
    }
    for listener in all { listener.close() }
  }

  private func close(_ listeners: [Listener]) {
    // To close a socket is to remove it from a folder, which can hang.
    for listener in listeners { Threads.run { listener.close() } }
  }

  private func undo(_ step: Step, _ listener: Listener?) {
    switch step {
    case .keep: break
    case .changed(let group, let mode): try? listener?.change(owner: nil, group: group, mode: mode)
    case .replace(let new): new?.close()
    }
  }

  private func prepareQuery(_ wanted: SocketSettings?, _ now: State) throws(Failure) -> Step {
    guard let wanted else { return .replace(nil) }
    guard let listener = now.query, let settings = now.settings,
      listener.isHandedOver || (settings.path == wanted.path && listener.isInPlace)
    else { return .replace(try makeQuery(wanted)) }
    if listener.isHandedOver || (settings.group == wanted.group && settings.mode == wanted.mode) {
      return .keep
    }
    try listener.change(owner: nil, group: wanted.group, mode: wanted.mode)
    return .changed(group: settings.group, mode: settings.mode)
  }

  private func prepareCredentials(_ wanted: Path?, _ now: State) throws(Failure) -> Step {
    guard let wanted else { return .replace(nil) }
    if let listener = now.credentials,
      listener.isHandedOver || (listener.path == wanted && listener.isInPlace)
    {
      return .keep
    }
    return .replace(try makeCredentials(wanted))
  }

  private static func locating<Value>(
    _ location: SourceLocation?, _ make: () throws(Failure) -> Value
  ) throws(Diagnostic) -> Value {
    do { return try make() } catch {
      throw Diagnostic(
        location: location ?? SourceLocation(file: "the configuration"), text: error.description,
        isTransient: error.isTransient)
    }
  }
}
