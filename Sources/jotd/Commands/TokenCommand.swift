import ArgumentParser
import Glibc
import Rotation

struct TokenCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "token", abstract: "Print an identity's fresh token, from the running daemon.",
    discussion: """
      With --wait it prints the next token, as soon as there is one, however long that takes and \
      also when the daemon is restarted meanwhile. --known names the token that the caller has, so \
      that none is missed between two calls.
      """)

  @Argument(help: "The identity.", completion: .custom(IdentityNames.complete))
  var name: String

  @Option(
    help: ArgumentHelp(
      "Have the token replaced first if it has less than this to live.", valueName: "span"))
  var minValidity: String?

  @Flag(help: "Wait for the next token.")
  var wait = false

  @Option(
    help: ArgumentHelp(
      "With --wait, the token that the caller has, in a file, or - for standard input (default: "
        + "the current one).", valueName: "file"), completion: .file())
  var known: String?

  @OptionGroup var daemon: DaemonOptions

  func validate() throws {
    try validateIdentity(name)
    if let minValidity, Duration(timeSpan: minValidity) == nil {
      throw ValidationError(
        "--min-validity must be a time span as in systemd.time(7), such as 2h or 90s.")
    }
    guard known == nil || wait else { throw ValidationError("--known goes with --wait.") }
    guard minValidity == nil || !wait else {
      throw ValidationError("--wait and --min-validity exclude each other.")
    }
  }

  func run() throws {
    let client = QueryClient(daemon)
    let token = try wait ? next(client) : current(client)
    printLine(String(decoding: token, as: UTF8.self))
  }

  private func current(_ client: QueryClient) throws -> [UInt8] {
    let query =
      minValidity.flatMap(Duration.init(timeSpan:)).map {
        "?min_validity=\($0.microseconds)us"
      } ?? ""
    return try reporting { () throws(Problem) in
      try token(client, client.demand("GET", "/v1/identities/\(name)/token\(query)"))
    }
  }

  private func next(_ client: QueryClient) throws -> [UInt8] {
    let known = try known.map { try read($0) }
    return try reporting { () throws(Problem) in try next(client, after: known) }
  }

  /// The first token other than `known`; without one, other than that which the daemon has now. Has
  /// one request held after the other, and asks again when the daemon goes away or has no token for
  /// now. Who has no token yet is told at once that it is away.
  private func next(
    _ client: QueryClient, after known: [UInt8]?
  ) throws(Problem) -> [UInt8] {
    var tag: String?
    var pause = Limits.firstAsk
    while true {
      let answer: QueryAnswer?
      let asked = ContinuousClock.now
      do throws(Problem) { answer = try ask(client, tag) } catch {
        guard error.exitCode == .unavailable, tag != nil || known != nil else { throw error }
        answer = nil
      }
      if let answer {
        switch answer.status {
        case 200:
          let token = try token(client, answer)
          if tag != nil || known != nil && known != token { return token }
          tag = answer.tag
          if tag == nil { throw client.broken("it has no ETag") }
          pause = Limits.firstAsk
          continue
        case 304 where .now - asked > Limits.longestAsk:
          pause = Limits.firstAsk
          continue
        // At once only when it was not held: after a reload, or by somebody else than jotd.
        case 304: break
        case 400..<429: throw answer.failure
        default: if tag == nil, known == nil { throw answer.failure }
        }
      }
      usleep(UInt32(clamping: pause.microseconds))
      pause = min(pause * 2, Limits.longestAsk)
    }
  }

  /// The token as it is now, or with a tag, another one as soon as there is one.
  private func ask(_ client: QueryClient, _ tag: String?) throws(Problem) -> QueryAnswer {
    let target = "/v1/identities/\(name)/token"
    guard let tag else { return try client.ask("GET", target) }
    let hold = Limits.commandHold
    return try client.ask(
      "GET", target + "?wait=\(hold.components.seconds)s", fields: "If-None-Match: \(tag)\r\n",
      limit: hold + Limits.answerTime)
  }

  private func token(
    _ client: QueryClient, _ answer: QueryAnswer
  ) throws(Problem) -> [UInt8] {
    guard (try? CompactToken(parsing: answer.body)) != nil else {
      throw client.broken("it is no token")
    }
    return answer.body
  }

  /// The token in a file, without white space around it.
  private func read(_ path: String) throws -> [UInt8] {
    do throws(Failure) {
      let limit = 2 * Limits.tokenBytes
      let bytes =
        try path == "-" ? standardInput(upTo: limit) : FileSystem.contents(of: path, upTo: limit)
      return TokenArgument.trimmed(bytes)
    } catch {
      printNote("--known: \(path == "-" ? "standard input" : path): \(error)")
      throw ExitCode.badData
    }
  }
}
