import Rotation

/// Finds hooks that cannot work on this host: after a rotation, nobody would be told.
struct HookInspection: Sendable {
  private let hooks: [(hook: Hook, location: SourceLocation)]
  private let mounts: MountView

  private struct Fault: Sendable {
    let location: SourceLocation
    let text: String
    /// It may come right: what is missing belongs to a client that does not run yet.
    var mayCome = false
  }

  static func inspect(_ settings: Settings, _ mounts: MountView, _ diagnostics: Diagnostics) {
    let inspection = HookInspection(settings, mounts)
    guard !inspection.hooks.isEmpty else { return }
    let faults = waiting(for: Limits.stallTimeout) { inspection.faultsOfFiles() }
    for fault in (faults ?? inspection.silence) + inspection.faultsOfUnits() {
      if fault.mayCome {
        diagnostics.warn(fault.location, fault.text)
      } else {
        diagnostics.error(fault.location, fault.text)
      }
    }
  }

  /// Each hook once, where it stands first.
  private init(_ settings: Settings, _ mounts: MountView) {
    var seen: Set<Hook> = []
    hooks = settings.hooks.sorted { "\($0.key)" < "\($1.key)" }.flatMap { subject, hooks in
      zip(hooks, settings.hookLocations[subject] ?? []).filter { seen.insert($0.0).inserted }
    }
    self.mounts = mounts
  }

  private var silence: [Fault] {
    hooks.prefix(1).map {
      Fault(
        location: $0.location, text: "the files of hooks do not answer: they were not checked",
        mayCome: true)
    }
  }

  // MARK: Programs and pid files

  private func faultsOfFiles() -> [Fault] {
    hooks.compactMap { hook, location in
      switch hook {
      case .run(let words):
        let path = String(decoding: words[0], as: UTF8.self)
        return fault(ofProgram: path).map {
          Fault(location: location, text: "the hook's program \(path): \($0)")
        }
      case .signal(let file, _, _):
        let folder = file.folder.description
        if let hiding = hiding(file.description) {
          return Fault(location: location, text: "the pid file \(file) \(hiding)")
        }
        guard (try? FileSystem.status(of: folder)) == nil else { return nil }
        return Fault(
          location: location,
          text: "\(folder), the folder of the pid file \(file), is not there, or not to be seen by "
            + "\(Accounts.describe(user: Accounts.own)): until it is, the hook fails",
          mayCome: true)
      case .reload, .restart: return nil
      }
    }
  }

  private func fault(ofProgram path: String) -> String? {
    do throws(Failure) {
      guard try FileSystem.status(of: path).kind == .file else { return "is not a file" }
      try FileSystem.checkExecutable(path)
      return nil
    } catch {
      if let hiding = hiding(path) { return hiding }
      return "\(error): it must be a program that "
        + "\(Accounts.describe(user: Accounts.own)) may execute"
    }
  }

  private func hiding(_ path: String) -> String? {
    let folder = Path(path).folder.description
    return switch mounts.seclusion(of: FileSystem.resolved(folder) ?? folder) {
    case .ownTmp: "cannot be seen by the service, which has a /tmp of its own (PrivateTmp=)"
    case .hidden: "is hidden from the service (ProtectHome= or InaccessiblePaths=)"
    case nil: nil
    }
  }

  // MARK: Units

  private func faultsOfUnits() -> [Fault] {
    let units = hooks.compactMap { hook, location in
      hook.unit.map { (unit: $0, location: location) }
    }
    guard SystemdQuery.isThere,
      let states = SystemdQuery.properties(["LoadState"], of: units.map(\.unit)),
      states.count == units.count
    else { return [] }
    return zip(units, states).compactMap { unit, state in
      guard let state = state["LoadState"], state != "loaded" else { return nil }
      return Fault(
        location: unit.location,
        text: "the hook's unit \(unit.unit) is not loaded (\(state)): until it is, the hook fails",
        mayCome: true)
    }
  }
}

extension Hook {
  /// The unit that systemd is asked to do something with.
  fileprivate var unit: String? {
    switch self {
    case .reload(let unit), .restart(let unit): unit
    case .signal, .run: nil
    }
  }
}
