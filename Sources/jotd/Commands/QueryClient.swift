import ArgumentParser
import Glibc
import NIOHTTP1
import Rotation

/// Asks the running daemon, by HTTP/1.1 over its query socket: one request a connection, whose
/// end is the end of the answer.
struct QueryClient {
  let socket: DaemonSocket
  private var path: Path { socket.path }

  /// The client for the daemon that answers there.
  init(_ socket: DaemonSocket) { self.socket = socket }

  /// The client for the daemon that the options name.
  init(_ options: DaemonOptions) { self.init(options.socket) }

  /// Sends a request and reads the whole answer; throws when the daemon cannot be reached, does not
  /// answer within `limit`, or answers with something else than one whole answer. `fields` are more
  /// lines of the head, each with its line break.
  func ask(
    _ method: String, _ target: String, fields: String = "", limit: Duration = Limits.answerTime
  ) throws(Problem) -> QueryAnswer {
    let bytes: [UInt8]
    do throws(Failure) {
      let exchange = try Exchange(path, within: limit)
      try exchange.send(
        "\(method) \(target) HTTP/1.1\r\nHost: jotd\r\nConnection: close\r\n"
          + "Content-Length: 0\r\n\(fields)\r\n")
      bytes = try exchange.receive(upTo: Limits.answerBytes)
    } catch { throw unreachable(error) }
    do throws(Failure) { return try QueryAnswer(bytes) } catch {
      throw broken(error.description)
    }
  }

  /// Like `ask`, but throws the daemon's answer as a problem unless its status is 2xx.
  func demand(_ method: String, _ target: String) throws(Problem) -> QueryAnswer {
    let answer = try ask(method, target)
    guard (200..<300).contains(answer.status) else { throw answer.failure }
    return answer
  }

  /// The failure of an answer that is not what this version of jotd gives.
  func broken(_ detail: String) -> Problem {
    Problem(
      .badGateway,
      "\(path): the answer is not understood: \(detail). Does the daemon of this version answer "
        + "there? systemctl status jotd")
  }

  private func unreachable(_ error: Failure) -> Problem {
    switch error.code {
    case EACCES:
      Problem(
        .forbidden,
        "\(path): \(error): \(Accounts.describe(user: Accounts.own)) may not connect: "
          + "see socket.group and socket.mode")
    case ENOENT, ECONNREFUSED: socket.silence(error)
    case EAGAIN:
      Problem(
        .gatewayTimeout, "\(path): the daemon does not answer: systemctl status jotd")
    case EFBIG: broken("it has more than \(Limits.answerBytes >> 20) MiB")
    default: Problem(.serviceUnavailable, "\(path): \(error)")
    }
  }
}

extension QueryAnswer {
  /// What an answer that is an error says.
  var failure: Problem { Problem(HTTPResponseStatus(statusCode: status), problem) }
}

extension Problem {
  /// What a command exits with.
  var exitCode: ExitCode {
    switch status {
    case .forbidden: .notAllowed
    case .notFound, .badRequest: .badData
    case .unprocessableEntity: .configuration
    default: .unavailable
    }
  }
}

/// Runs what asks the daemon; when it fails, says why on standard error and throws its exit code.
func reporting<Value>(_ ask: () throws(Problem) -> Value) throws -> Value {
  do { return try ask() } catch {
    printNote(error.detail)
    if !error.advice.isEmpty {
      writeToStandardError(redacted(error.advice, keepingLines: true) + "\n")
    }
    throw error.exitCode
  }
}
