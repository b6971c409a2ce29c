import ArgumentParser
import Glibc
import Rotation

/// Asks the running daemon, by HTTP/1.1 over its query socket: one request a connection, whose
/// end is the end of the answer.
struct QueryClient {
  let path: Path

  struct Answer {
    let status: Int
    let body: [UInt8]

    var json: JSON? { try? JSON(parsing: body) }

    /// What an error's body says; the bare status when it says nothing.
    var problem: String {
      if case .string(let detail)? = json?["detail"] { return detail }
      return "HTTP status \(status)"
    }
  }

  /// The client for the socket of a configuration. Says on standard error what is wrong with it.
  init(_ config: ConfigurationOption) throws {
    let findings = Findings()
    let settings = Configuration.load(config.pathOrStandard, findings)
    guard let settings, findings.errors.isEmpty else {
      writeToStandardError(Preparation.Refused(errors: findings.errors).description + "\n")
      throw ExitCode.configuration
    }
    guard let socket = settings.socket else {
      printNote("\(config.pathOrStandard) has no socket: section, so the daemon cannot be asked")
      throw ExitCode.configuration
    }
    path = socket.path
  }

  /// Sends a request and reads the answer; throws when the daemon cannot be reached, or does not
  /// answer within `limit`.
  func ask(
    _ method: String, _ target: String, limit: Duration = .seconds(15)
  ) throws(SystemError) -> Answer {
    let socket = try Descriptor.connect(path.description, limit: limit)
    let request =
      "\(method) \(target) HTTP/1.1\r\nHost: jotd\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    try socket.write(Array(request.utf8))
    let bytes = try socket.read(upTo: 64 << 20)
    let blank: [UInt8] = [0x0d, 0x0a, 0x0d, 0x0a]
    guard let end = bytes.indices.first(where: { bytes[$0...].starts(with: blank) }),
      let status = String(decoding: bytes[..<end], as: UTF8.self).split(separator: " ")
        .dropFirst().first.flatMap({ Int($0) })
    else { throw SystemError(code: EPROTO) }
    return Answer(status: status, body: Array(bytes[(end + 4)...]))
  }

  /// The same for a command: says on standard error what went wrong, and throws its exit code.
  func demand(_ method: String, _ target: String) throws -> Answer {
    let answer: Answer
    do { answer = try ask(method, target) } catch {
      printNote(unreachable(error))
      throw error.code == EACCES ? ExitCode.notAllowed : ExitCode.unavailable
    }
    switch answer.status {
    case 200..<300: return answer
    case 403:
      printNote(answer.problem)
      throw ExitCode.notAllowed
    case 404, 400:
      printNote(answer.problem)
      throw ExitCode.badData
    case 422:
      printNote(answer.problem)
      throw ExitCode.configuration
    default:
      printNote(answer.problem)
      throw ExitCode.unavailable
    }
  }

  func unreachable(_ error: SystemError) -> String {
    switch error.code {
    case EACCES:
      "\(path): \(error.reason): \(Accounts.describe(user: Accounts.own)) may not connect: "
        + "see socket.group and socket.mode"
    case ENOENT, ECONNREFUSED:
      "\(path): \(error.reason): does the daemon run? systemctl status jotd"
    case EAGAIN: "\(path): the daemon does not answer: systemctl status jotd"
    default: "\(path): \(error.reason)"
    }
  }
}
