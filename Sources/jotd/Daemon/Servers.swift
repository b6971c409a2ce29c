import Dispatch
import Rotation

/// The query socket and the credential socket, with what they answer from.
@MainActor
final class Servers {
  /// What is known of the identities, for the threads that answer.
  let store: StatusStore
  /// What is served, and what a reload prepares beside it.
  let sockets: ServedSockets
  private let publicKeys: PublicKeyService
  /// Nil until `open`, and when systemd handed none over.
  private var publicKeySocket: PublicKeySocket?
  private let publicKeyConnections = Connections(.publicKeys())
  private let longPolls = LongPolls(perUser: Limits.heldPerUser)
  private let connections = Connections(.query())
  private let credentialConnections = Connections(.credentials())
  private let renewals: Renewals
  private let credentials: CredentialService
  private let journal: Journal
  /// Whether callers are taken in.
  private var isServing = false

  /// Nothing is served yet. `control` carries out what callers ask for.
  init(_ loaded: LoadedConfiguration, _ control: QueryService.Control, _ journal: Journal) {
    self.journal = journal
    store = StatusStore(
      StatusStore.General(
        access: Access(loaded.settings), keys: loaded.keys,
        configuration: loaded.settings.version))
    renewals = Renewals(store, control.rotate)
    let query = QueryService(
      store, longPolls, renewals, FairQueue { Threads.run($0) }, control)
    let credentials = CredentialService(store, longPolls, renewals, report: control.report)
    self.credentials = credentials
    publicKeys = PublicKeyService(store, FairQueue { Threads.run($0) })
    sockets = ServedSockets(
      query: { [connections] (settings) throws(Failure) in
        try Listener(settings, query, connections)
      },
      credentials: { [credentialConnections] (path) throws(Failure) in
        try Listener(credentials: path, credentials, credentialConnections)
      })
  }

  /// Makes the sockets; whoever connects waits until `begin`. A socket whose disk hangs comes when
  /// that comes back: the deliveries do not wait for it.
  func open(_ settings: Settings) throws(Diagnostic) {
    bound(settings)
    do throws(Failure) {
      publicKeySocket = try PublicKeySocket(publicKeys, publicKeyConnections)
    } catch {
      throw Diagnostic(
        location: SourceLocation(file: "systemd"), text: error.description,
        isTransient: error.isTransient)
    }
    let prepared = waiting(for: Limits.stallTimeout) { [sockets] in
      Result { () throws(Diagnostic) in try sockets.prepare(settings.socket) }
    } late: { result in
      MainQueue.run { self.openLate(result) }
    }
    guard let prepared else {
      return journal.report(
        .warning("the sockets of the configuration hang: does a disk? They come when it does"))
    }
    sockets.commit(try prepared.get())
  }

  private func openLate(_ result: Result<ServedSockets.Prepared, Diagnostic>) {
    switch result {
    case .success(let prepared):
      // A reload may have come before.
      guard sockets.isEmpty else {
        return Threads.run { [sockets] in sockets.abandon(prepared) }
      }
      serve(prepared)
    case .failure(let diagnostic): journal.report(.warning("\(diagnostic)"))
    }
  }

  /// Takes in those who wait, and whoever comes from now on.
  func begin() {
    isServing = true
    sockets.begin()
    publicKeySocket?.begin()
  }

  /// Serves what a reload prepared, in place of what was there.
  func serve(_ prepared: ServedSockets.Prepared) {
    sockets.commit(prepared)
    if isServing { sockets.begin() }
  }

  /// Publishes a configuration that is in force from now on, with how its identities stand.
  func apply(_ settings: Settings, _ turn: Turn) {
    bound(settings)
    store.apply(settings, turn)
  }

  /// Whoever waits for a token asks anew: what was removed or forbidden comes no more.
  func releaseAll() { longPolls.releaseAll() }

  /// Publishes what changed, and tells those who wait for it.
  func publish(_ turn: Turn) {
    if turn.changed.isEmpty, turn.numbers == nil, turn.keys == nil, turn.publications == nil {
      return
    }
    for name in store.publish(turn) { longPolls.release(name) }
  }

  /// Tells all who wait, on both sockets, that no token comes any more.
  func stop() {
    // First, so that who is let go is not told to wait again.
    credentials.close()
    renewals.close()
    longPolls.releaseAll()
    publicKeys.end()
  }

  /// Ends the sockets. Where systemd keeps one, and promises that nobody is refused, it waits for
  /// those who were taken in. It can hang: not for the main queue.
  var closing: @Sendable () -> Void {
    { [sockets, connections, publicKeySocket, publicKeyConnections] in
      let keepsQuery = sockets.isQueryHandedOver
      let deadline = DispatchTime.now() + Limits.shutdownGrace.interval
      publicKeySocket?.close()
      sockets.close()
      publicKeyConnections.end(by: deadline)
      if keepsQuery { connections.end(by: deadline) }
    }
  }

  /// Leaves enough descriptors to rotations, and to the token sockets that listen.
  private func bound(_ settings: Settings) {
    let listening = settings.listeningDeliveries
    connections.keep(.query(listening: listening))
    credentialConnections.keep(.credentials(listening: listening))
    publicKeyConnections.keep(.publicKeys(listening: listening))
  }
}
