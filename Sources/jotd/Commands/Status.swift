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

  @OptionGroup var daemon: DaemonOptions

  func validate() throws {
    if json, watch { throw ValidationError("--json and --watch exclude each other.") }
  }

  func run() throws {
    let client = QueryClient(daemon)
    var disk = ConfigurationOnDisk(daemon.config.pathOrStandard)
    guard watch else {
      return printRaw(try reporting { () throws(Problem) in try page(client, &disk) })
    }
    while true {
      let page = (try? reporting { () throws(Problem) in try self.page(client, &disk) }) ?? ""
      // Home, the page with every line's rest erased, then what is below erased.
      let lines = page.split(separator: "\n", omittingEmptySubsequences: false)
      printRaw("\u{1b}[H" + lines.joined(separator: "\u{1b}[K\n") + "\u{1b}[J")
      sleep(1)
    }
  }

  private func page(
    _ client: QueryClient, _ disk: inout ConfigurationOnDisk
  ) throws(Problem) -> String {
    let answer = try client.ask("GET", "/health")
    guard let report = answer.json, let identities = report["identities"]?.members else {
      throw client.broken(answer.problem)
    }
    let difference = disk.difference(from: report["configuration"])
    if json {
      let more = difference.map { [JSON.Member("configuration_on_disk", $0.json)] } ?? []
      return JSON.object((report.members ?? []) + more).text + "\n"
    }
    let table = StatusTable(
      columns: terminalColumns, lines: watch ? terminalLines.map { $0 - 1 } : nil, now: .now)
    let notes = (report["notes"]?.elements ?? []).compactMap(\.string)
    return table.text(identities, notes: notes + [difference?.sentence].compactMap(\.self))
  }
}
