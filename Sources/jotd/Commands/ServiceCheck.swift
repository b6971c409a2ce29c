import ArgumentParser
import Glibc
import Rotation

/// `check`, run by systemd as it runs jotd.service: with its user, its capabilities, its
/// credentials and what it sees of the host. Nothing but that knows what the service can do.
enum ServiceCheck {
  enum Outcome {
    /// It ran, and this is what it printed.
    case judged(ExitCode, output: String)
    /// systemd cannot start the service, either.
    case startFails(String)
    /// It could not be run, so nobody knows.
    case impossible(String)
    /// The configuration is not that of an installed service, or the caller cannot ask systemd.
    case isNoService
  }

  /// Runs `check` for the configuration at `path`. Not for a check that was run in this way.
  static func run(_ path: String) -> Outcome {
    guard Accounts.own == 0, let unit = installed(), let start = unit.start,
      let resolved = FileSystem.resolved(path),
      resolved == FileSystem.resolved(start.configuration)
    else { return .isNoService }
    do throws(Failure) {
      return try run(unit, start.program, path.hasPrefix("/") ? path : resolved)
    } catch { return .impossible(error.description) }
  }

  /// Whether this process belongs to jotd.service itself, such as one of its ExecReload= lines.
  private static var isInside: Bool {
    guard let text = try? FileSystem.contents(of: "/proc/self/cgroup", upTo: 16 << 10) else {
      return false
    }
    return Peer.unit(inControlGroups: text) == ServiceUnit.name
  }

  private static func installed() -> ServiceUnit? {
    guard SystemdQuery.isThere, !isInside,
      let text = SystemdQuery.ask(["cat", "--no-pager", ServiceUnit.name])
    else { return nil }
    return ServiceUnit(text)
  }

  private static func run(
    _ unit: ServiceUnit, _ program: String, _ path: String
  ) throws(Failure) -> Outcome {
    try refuseToGiveAway(unit)
    guard let own = FileSystem.resolved("/proc/self/exe") else {
      throw Failure("the program of this command is not there any more")
    }
    let name = "jotd-check-\(getpid()).service"
    var notes: [String] = []
    if SystemdQuery.ask(["show", "-P", "NeedDaemonReload", ServiceUnit.name]) == "yes\n" {
      notes.append(
        "\(ServiceUnit.name) has changed on disk, which this check went by, but the service does "
          + "not before: systemctl daemon-reload")
    }
    var properties = try unit.properties()
    while true {
      let (end, output) = try start(name, properties, [own, "check", "--config", path], notes)
      let text = String(decoding: output, as: UTF8.self)
      switch end {
      case .exit(0): return .judged(.success, output: text)
      case .exit(ExitCode.configuration.rawValue): return .judged(.configuration, output: text)
      case .exit(let status) where (200..<250).contains(status):
        if status == 203, FileSystem.resolved(program) != own {
          throw Failure("the service may not execute \(own)")
        }
        return .startFails(explain(status, unit, name))
      case .exit(let status):
        // A unit's setting that systemd does not know is passed over in a unit, too.
        guard let key = unknownSetting(text),
          properties.contains(where: { $0.hasPrefix("\(key)=") })
        else {
          let said = redacted(unit.hidingValues(in: text), upTo: 500)
          throw Failure("systemd-run: exit status \(status)\(said.isEmpty ? "" : ": \(said)")")
        }
        properties.removeAll { $0.hasPrefix("\(key)=") }
        notes.append(
          "\(key)= in \(ServiceUnit.name) is nothing that systemd-run knows, and was left out of "
            + "this check: is it misspelt? Then systemd passes it over, too")
      case .signal(let signal): throw Failure("systemd-run: signal \(signal)")
      case .late, .immortal: throw Failure("it took longer than \(Limits.checkTime.timeSpan)")
      }
    }
  }

  /// Runs a program as a transient unit that is gone when it ends.
  private static func start(
    _ name: String, _ properties: [String], _ program: [String], _ notes: [String]
  ) throws(Failure) -> (end: ProcessRunner.End, output: [UInt8]) {
    let options = [
      "--quiet", "--pipe", "--wait", "--collect", "--unit=\(name)",
      "--property=RuntimeMaxSec=\(Limits.checkTime.components.seconds)",
    ]
    let words =
      ["/usr/bin/systemd-run"] + options + properties.map { "--property=\($0)" } + ["--"] + program
      + ["--as-service"] + notes.flatMap { ["--note", $0] }
    return try ProcessRunner().run(
      words, environment: SystemdQuery.environment, input: [],
      limit: Limits.checkTime + Limits.systemdTime, room: Limits.checkOutputBytes)
  }

  /// The setting that systemd-run, or the service manager that it asked, says it does not know.
  private static func unknownSetting(_ text: String) -> String? {
    for (before, after) in [("Unknown assignment: ", "="), ("Cannot set property ", ",")] {
      guard let start = text.firstRange(of: before)?.upperBound,
        let end = text[start...].firstRange(of: after)?.lowerBound
      else { continue }
      return String(text[start..<end])
    }
    return nil
  }

  /// A folder such as that of RuntimeDirectory= is given to the user of the unit, with all in it.
  /// If it is another's now, that is for a start of the service to do, and not for a check.
  private static func refuseToGiveAway(_ unit: ServiceUnit) throws(Failure) {
    guard let user = (try? Accounts.user(unit["User"] ?? "root")).flatMap(\.self) else { return }
    for folder in unit.folders {
      guard let owner = try? FileSystem.status(of: folder).owner, owner != user else { continue }
      throw Failure(
        "\(folder) belongs to \(Accounts.describe(user: owner)), and the next start gives it, and "
          + "all in it, to \(Accounts.describe(user: user))")
    }
  }

  /// What an exit status of systemd's own means (systemd.exec(5)), and what to do.
  private static func explain(_ status: Int32, _ unit: ServiceUnit, _ name: String) -> String {
    let missing = unit.missing
    let reason =
      switch status {
      case 203: "the program cannot be executed"
      case 216, 217:
        "there is no user \(unit["User"] ?? "") on this host: systemd-sysusers makes jotd's"
      case 226:
        missing.isEmpty
          ? "its folders cannot be set up"
          : "not there: \(missing.joined(separator: ", ")). Create it, or take it out of the unit "
            + "(systemctl edit jotd)"
      case 243:
        missing.isEmpty
          ? "its credentials cannot be loaded"
          : "not there: \(missing.joined(separator: ", ")). Write the secret there, or correct the "
            + "unit (systemctl edit jotd)"
      default: "status \(status), see systemd.exec(5)"
      }
    return "systemd cannot start \(ServiceUnit.name): \(reason). "
      + "More is in journalctl -u \(name)"
  }
}
