import ArgumentParser
import Rotation

// The commands that ask the running daemon for one thing.

struct TokenCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "token", abstract: "Print an identity's fresh token, from the running daemon.")

  @Argument(help: "The identity.")
  var name: String

  @Option(
    help: ArgumentHelp(
      "Have the token replaced first if it has less than this to live.", valueName: "span"))
  var minValidity: String?

  @OptionGroup var config: ConfigurationOption

  func validate() throws {
    try validateIdentity(name)
    if let minValidity, Duration(timeSpan: minValidity) == nil {
      throw ValidationError(
        "--min-validity must be a time span as in systemd.time(7), such as 2h or 90s.")
    }
  }

  func run() throws {
    let query =
      minValidity.flatMap(Duration.init(timeSpan:)).map {
        "?min_validity=\($0.microseconds)us"
      } ?? ""
    let answer = try QueryClient(config).demand("GET", "/v1/identities/\(name)/token\(query)")
    printLine(String(decoding: answer.body, as: UTF8.self))
  }
}

struct Rotate: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Have the running daemon replace tokens at once.")

  @Argument(help: "The identities.")
  var names: [String] = []

  @Flag(help: "All identities.")
  var all = false

  @OptionGroup var config: ConfigurationOption

  func validate() throws {
    guard names.isEmpty == all else {
      throw ValidationError("Name the identities, or give --all.")
    }
    for name in names { try validateIdentity(name) }
  }

  func run() throws {
    let client = try QueryClient(config)
    var wanted = names
    if all, case .array(let known)? = try client.demand("GET", "/v1/identities").json?["identities"]
    {
      wanted = known.compactMap {
        if case .string(let name)? = $0["identity"] { name } else { nil }
      }
    }
    var hasFailed = false
    for name in wanted {
      let answer = try client.demand("POST", "/v1/identities/\(name)/rotate")
      if case .string(let fault)? = answer.json?["last_error"] {
        hasFailed = true
        writeToStandardError("\(name): not everywhere: \(printable(fault))\n")
      } else if case .string(let end)? = answer.json?["expires_at"] {
        printLine("\(name): rotated, expires \(end)")
      }
    }
    if hasFailed { throw ExitCode.unavailable }
  }
}

struct Reload: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Have the running daemon apply its configuration anew.",
    discussion: "Applied whole or not at all: exits with 78, and says why, when it is refused.")

  @OptionGroup var config: ConfigurationOption

  func run() throws {
    let answer = try QueryClient(config).demand("POST", "/v1/reload")
    let counts = ["unchanged", "added", "changed", "removed"].compactMap { name -> String? in
      guard case .number(let count)? = answer.json?[name] else { return nil }
      return "\(count) \(name)"
    }
    printLine("reloaded: " + counts.joined(separator: ", "))
  }
}

struct HealthCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "health",
    abstract: "Say in one line how the daemon is, for monitoring.",
    discussion: """
      Exits as monitoring plugins do: 0 when all is well, 1 for a warning, 2 when a token expired \
      or is missing, 3 when the daemon cannot be asked.
      """)

  @OptionGroup var config: ConfigurationOption

  func run() throws {
    let client: QueryClient
    do { client = try QueryClient(config) } catch { throw ExitCode(3) }
    let answer: QueryClient.Answer
    do { answer = try client.ask("GET", "/health", limit: .seconds(5)) } catch {
      printLine("JOTD UNKNOWN - \(client.unreachable(error))")
      throw ExitCode(3)
    }
    guard let json = answer.json, case .string(let status)? = json["status"],
      case .object(let identities)? = json["identities"]
    else {
      printLine("JOTD UNKNOWN - the answer is not understood: \(answer.problem)")
      throw ExitCode(3)
    }
    let (word, code) =
      switch status {
      case "pass": ("OK", 0)
      case "warn": ("WARNING", 1)
      default: ("CRITICAL", 2)
      }
    printLine("JOTD \(word) - \(summary(identities, json["notes"]))")
    if code != 0 { throw ExitCode(Int32(code)) }
  }

  /// Counts of states, with names of what is not fresh, what fails, and performance data.
  private func summary(_ identities: [JSON.Member], _ notes: JSON?) -> String {
    var names: [String: [String]] = [:]
    var faults: [String] = []
    for identity in identities {
      if case .string(let state)? = identity.value["state"] {
        names[state, default: []].append(identity.name)
      }
      if case .string(let fault)? = identity.value["last_error"] {
        faults.append("\(identity.name): \(fault)")
      }
    }
    if case .array(let notes)? = notes {
      for case .string(let note) in notes { faults.append(note) }
    }
    let states = ["fresh", "stale", "expired", "missing"]
    var parts = ["\(names["fresh"]?.count ?? 0) of \(counted(identities.count, "identity")) fresh"]
    for state in states.dropFirst() {
      if let some = names[state] { parts.append("\(state): \(some.joined(separator: ", "))") }
    }
    let data = states.map { "\($0)=\(names[$0]?.count ?? 0)" }.joined(separator: " ")
    // What monitoring reads as numbers begins after the first bar.
    let words = printable((parts + faults).joined(separator: "; ")).utf8.map {
      $0 == UInt8(ascii: "|") ? UInt8(ascii: "/") : $0
    }
    return String(decoding: words, as: UTF8.self) + " | " + data
  }
}

private func validateIdentity(_ name: String) throws {
  if let fault = Identity.fault(inName: name) { throw ValidationError("\(fault).") }
}
