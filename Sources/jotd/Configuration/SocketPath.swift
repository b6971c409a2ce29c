import Rotation

/// `socket.path`, as far as a configuration can be read. For commands that only ask the daemon:
/// what else is wrong with the file is none of their business.
enum SocketPath {
  /// What the file says of it.
  enum Reading: Sendable {
    case path(Path)
    /// The file has no `socket:`, and nothing stands in the way of seeing that.
    case none
    /// It could not be read as far, and why.
    case unknown(String)
  }

  /// Reads the main file of a configuration; it alone may have a `socket:`.
  static func read(_ file: String) -> Reading {
    let bytes: [UInt8]
    do { bytes = try FileSystem.contents(of: file, upTo: Limits.configurationBytes) } catch {
      return .unknown("\(file) cannot be read (\(error))")
    }
    return read(bytes, file)
  }

  /// The same for the content of the file.
  static func read(_ bytes: [UInt8], _ file: String) -> Reading {
    let root = YAMLDocument.beginning(of: bytes, until: "socket")
    let diagnostics = Diagnostics()
    if let socket = root?["socket"] {
      if let path = socket["path"].flatMap({ diagnostics.socketPath($0, "socket.path") }) {
        return .path(path)
      }
      return .unknown("\(file) has a socket: without a path that can be used")
    }
    let isWhole = (try? YAMLDocument.root(of: bytes, file: file, diagnostics)) != nil
    return isWhole ? .none : .unknown("\(file) cannot be read as far as socket.path")
  }
}
