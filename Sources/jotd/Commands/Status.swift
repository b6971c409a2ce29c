import ArgumentParser
import Glibc
import Rotation

struct Status: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show every identity: state, remaining life, next rotation.",
    discussion: "Shows what health tells: whoever may connect to the socket may see it.")

  @Flag(help: "Print the health report as JSON.")
  var json = false

  @Flag(help: "Show it again every second, until Ctrl-C.")
  var watch = false

  @OptionGroup var config: ConfigurationOption

  func validate() throws {
    if json, watch { throw ValidationError("--json and --watch exclude each other.") }
  }

  func run() throws {
    let client = try QueryClient(config)
    guard watch else { return printRaw(try page(client)) }
    while true {
      let page: String
      do { page = try self.page(client) } catch is ExitCode { page = "" }
      // Home, the page with every line's rest erased, then what is below erased.
      let lines = page.split(separator: "\n", omittingEmptySubsequences: false)
      printRaw("\u{1b}[H" + lines.joined(separator: "\u{1b}[K\n") + "\u{1b}[J")
      sleep(1)
    }
  }

  private func page(_ client: QueryClient) throws -> String {
    let answer: QueryClient.Answer
    do { answer = try client.ask("GET", "/health") } catch {
      printNote(client.unreachable(error))
      throw error.code == EACCES ? ExitCode.notAllowed : ExitCode.unavailable
    }
    guard let report = answer.json, case .object(let identities)? = report["identities"] else {
      printNote(answer.problem)
      throw ExitCode.unavailable
    }
    if json { return String(decoding: answer.body, as: UTF8.self) }
    let table = StatusTable(columns: terminalColumns, now: .now)
    return table.text(identities, notes: report["notes"])
  }
}

/// Health as a table for people. Colours and bars only on a terminal.
struct StatusTable {
  /// Width of the terminal; nil when it goes elsewhere.
  let columns: Int?
  let now: Instant

  private static let barWidth = 12

  func text(_ identities: [JSON.Member], notes: JSON?) -> String {
    let width = max(8, identities.map(\.name.utf8.count).max() ?? 0)
    var lines = [
      row("IDENTITY", width, "STATE", "REMAINING", "NEXT ROTATION", "LAST ERROR", state: nil)
    ]
    for identity in identities {
      let state = string(identity.value["state"]) ?? "unknown"
      let end = string(identity.value["expires_at"]).flatMap(Instant.init(rfc3339:))
      let begin = string(identity.value["issued_at"]).flatMap(Instant.init(rfc3339:))
      let next = string(identity.value["refresh_at"]).flatMap(Instant.init(rfc3339:))
      lines.append(
        row(
          identity.name, width, state, remaining(begin, end),
          next.map { $0 > now ? "in \(($0 - now).approximate)" : "now" } ?? "-",
          string(identity.value["last_error"]).map(printable) ?? "-", state: state))
    }
    if identities.isEmpty { lines.append("no identities are configured") }
    if case .array(let notes)? = notes {
      for case .string(let note) in notes { lines.append(fitted("! " + printable(note))) }
    }
    return lines.joined(separator: "\n") + "\n"
  }

  private func row(
    _ name: String, _ width: Int, _ state: String, _ remaining: String, _ next: String,
    _ fault: String, state colour: String?
  ) -> String {
    let line = fitted(
      padded(name, width + 2) + padded(state, 9) + padded(remaining, 26) + padded(next, 16)
        + fault)
    guard columns != nil else { return line }
    switch colour {
    case nil: return "\u{1b}[1m\(line)\u{1b}[0m"
    case "fresh": return fault == "-" ? line : "\u{1b}[33m\(line)\u{1b}[0m"
    case "stale": return "\u{1b}[33m\(line)\u{1b}[0m"
    default: return "\u{1b}[31m\(line)\u{1b}[0m"
    }
  }

  /// The part of its life that a token has left, as a bar, and the time to its end.
  private func remaining(_ begin: Instant?, _ end: Instant?) -> String {
    guard let end else { return "-" }
    guard end > now else { return "ended \((now - end).approximate) ago" }
    let left = (end - now).approximate
    guard columns != nil else { return left }
    let life = Double(max(1, (end - (begin ?? now)).microseconds))
    let part = min(1, Double((end - now).microseconds) / life)
    let full = max(1, Int((part * Double(StatusTable.barWidth)).rounded()))
    return String(repeating: "█", count: full)
      + String(repeating: "░", count: StatusTable.barWidth - full) + " " + left
  }

  private func string(_ value: JSON?) -> String? {
    if case .string(let text)? = value { text } else { nil }
  }

  private func padded(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(1, width - text.count))
  }

  /// Cut to the terminal's width, so that a row stays a row.
  private func fitted(_ line: String) -> String {
    guard let columns, line.count > columns else { return line }
    return String(line.prefix(columns - 1)) + "…"
  }
}
