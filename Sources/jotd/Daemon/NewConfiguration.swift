import Rotation

/// A configuration that a reload is to apply, and the sockets that were made for it: from here on,
/// nothing can fail.
struct NewConfiguration: Sendable {
  let loaded: LoadedConfiguration
  let sockets: ServedSockets.Prepared

  /// Reads and prepares what stands at `path`, beside what `served` serves and the rings `inUse`;
  /// all is as it was when it is refused. Not for the main queue: it takes seconds for a large
  /// file, and a disk can hang.
  init(_ path: String, _ served: ServedSockets, _ inUse: RingsInUse) throws(Failure) {
    defer { Hardening.trimMemory() }
    let diagnostics = Diagnostics()
    guard let loaded = LoadedConfiguration(path, .reload, inUse: inUse, diagnostics) else {
      throw Failure(diagnostics.report)
    }
    self.loaded = loaded
    do throws(Diagnostic) { sockets = try served.prepare(loaded.settings.socket) } catch {
      throw Failure(error.description)
    }
  }
}
