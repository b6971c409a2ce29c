import NIOHTTP1
import Rotation

/// The socket on which the daemon is asked.
struct DaemonSocket {
  enum Reason {
    /// By the option, or by the configuration.
    case named
    /// This configuration names none, so it is the standard one.
    case unnamed(String)
    /// What the configuration names is not known, in words, so it is the standard one.
    case unknown(String)
  }

  let path: Path
  let reason: Reason

  /// The one that is named, or that the configuration in `file` names, or the standard one.
  init(_ named: String?, _ file: String) {
    if let named {
      (path, reason) = (Path(named), .named)
      return
    }
    // A disk that hangs keeps nobody from asking.
    switch waiting(for: Limits.stallTimeout, { SocketPath.read(file) }) {
    case .path(let path)?: (self.path, reason) = (path, .named)
    case .none?: (path, reason) = (Configuration.standardSocket, .unnamed(file))
    case .unknown(let why)?: (path, reason) = (Configuration.standardSocket, .unknown(why))
    case nil:
      let why = "\(file) cannot be read in \(Limits.stallTimeout.timeSpan)"
      (path, reason) = (Configuration.standardSocket, .unknown(why))
    }
  }

  /// What nobody answering there means.
  func silence(_ error: Failure) -> Problem {
    switch reason {
    case .named:
      return Problem(
        .serviceUnavailable, "\(path): \(error): does the daemon run? systemctl status jotd")
    case .unknown(let why):
      return Problem(
        .serviceUnavailable,
        "\(path): \(error): does the daemon run? systemctl status jotd. \(why): name its "
          + "socket with --socket")
    case .unnamed(let file):
      return Problem(
        .serviceUnavailable,
        "\(file) has no socket: section, and nobody answers at \(path): so the daemon cannot be "
          + "asked",
        advice: """
          To have it answer, add these lines, and apply them with: sudo systemctl reload jotd
          socket:
            path: \(path)
            group: camera    # who may connect, beside root
          """)
    }
  }
}
