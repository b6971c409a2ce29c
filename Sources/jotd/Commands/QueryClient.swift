import ArgumentParser
import Glibc
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
  ) throws(QueryFailure) -> QueryAnswer {
    let bytes: [UInt8]
    do throws(SystemError) {
      let exchange = try Exchange(path, within: limit)
      try exchange.send(
        "\(method) \(target) HTTP/1.1\r\nHost: jotd\r\nConnection: close\r\n"
          + "Content-Length: 0\r\n\(fields)\r\n")
      bytes = try exchange.receive(upTo: Limits.answerBytes)
    } catch { throw unreachable(error) }
    do throws(QueryAnswer.Fault) { return try QueryAnswer(bytes) } catch {
      throw broken(error.detail)
    }
  }

  /// The same for what must work: an error of the daemon's is one here, with its exit code.
  func demand(_ method: String, _ target: String) throws(QueryFailure) -> QueryAnswer {
    let answer = try ask(method, target)
    guard (200..<300).contains(answer.status) else { throw answer.failure }
    return answer
  }

  /// The failure of an answer that is not what this version of jotd gives.
  func broken(_ detail: String) -> QueryFailure {
    QueryFailure(
      "\(path): the answer is not understood: \(detail). Does the daemon of this version answer "
        + "there? systemctl status jotd", .unavailable)
  }

  private func unreachable(_ error: SystemError) -> QueryFailure {
    switch error.code {
    case EACCES:
      QueryFailure(
        "\(path): \(error.reason): \(Accounts.describe(user: Accounts.own)) may not connect: "
          + "see socket.group and socket.mode", .notAllowed)
    case ENOENT, ECONNREFUSED: socket.silence(error)
    case EAGAIN:
      QueryFailure("\(path): the daemon does not answer: systemctl status jotd", .unavailable)
    case EFBIG: broken("it has more than \(Limits.answerBytes >> 20) MiB")
    default: QueryFailure("\(path): \(error.reason)", .unavailable)
    }
  }
}

extension QueryAnswer {
  /// What an answer that is an error means for a command.
  var failure: QueryFailure {
    switch status {
    case 403: QueryFailure(problem, .notAllowed)
    case 404, 400: QueryFailure(problem, .badData)
    case 422: QueryFailure(problem, .configuration)
    default: QueryFailure(problem, .unavailable)
    }
  }
}

/// Why the daemon could not be asked, or did not do it.
struct QueryFailure: Error {
  let text: String
  let code: ExitCode
  /// What to do about it, in lines of their own; empty when the text says it.
  let advice: String

  init(_ text: String, _ code: ExitCode, advice: String = "") {
    self.text = text
    self.code = code
    self.advice = advice
  }
}

/// Runs what asks the daemon: says on standard error why it failed, and exits with that code.
func reporting<Value>(_ ask: () throws(QueryFailure) -> Value) throws -> Value {
  do { return try ask() } catch {
    printNote(error.text)
    if !error.advice.isEmpty {
      writeToStandardError(redacted(error.advice, keepingLines: true) + "\n")
    }
    throw error.code
  }
}
