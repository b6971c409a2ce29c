import Rotation

/// The installed jotd.service, as its files say it (systemd.unit(5), systemd.service(5)).
struct ServiceUnit {
  static let name = "jotd.service"

  /// What the section [Service] says, drop-ins included, without what a later empty line takes
  /// back.
  let assignments: [(key: String, value: String)]

  /// Reads what `systemctl cat` prints: the unit's file, and then its drop-ins in their order.
  init(_ text: String) {
    var found: [(key: String, value: String)] = []
    var section = ""
    for line in ServiceUnit.logicalLines(of: text) {
      if line.hasPrefix("["), line.hasSuffix("]") {
        section = line
      } else if section == "[Service]", let sign = line.firstIndex(of: "=") {
        let key = ServiceUnit.trimmed(line[..<sign])
        let value = ServiceUnit.trimmed(line[line.index(after: sign)...])
        if value.isEmpty { found.removeAll { $0.key == key } }
        // For this one, nothing is a value, too: no capability.
        if !value.isEmpty || key == "CapabilityBoundingSet" { found.append((key, value)) }
      }
    }
    assignments = found
  }

  /// The last value of a key.
  subscript(key: String) -> String? { assignments.last { $0.key == key }?.value }

  /// The program that it starts, and the configuration that this reads; nil when it starts nothing.
  var start: (program: String, configuration: String)? {
    guard let line = self["ExecStart"] else { return nil }
    let words = line.split(separator: " ").map { $0.filter { $0 != "\"" && $0 != "'" } }
    guard let first = words.first else { return nil }
    var path = Configuration.standardPath
    for (word, next) in zip(words, words.dropFirst() + [""]) {
      if word == "--config" { path = next }
      if word.hasPrefix("--config=") { path = String(word.dropFirst("--config=".count)) }
    }
    return (String(first.drop { "@-:+!|".contains($0) }), path)
  }

  /// The folders that systemd makes for it and gives to its user, such as that of
  /// RuntimeDirectory=.
  var folders: [String] {
    let places = [
      "RuntimeDirectory": "/run", "StateDirectory": "/var/lib", "CacheDirectory": "/var/cache",
      "LogsDirectory": "/var/log", "ConfigurationDirectory": "/etc",
    ]
    return assignments.flatMap { key, value in
      guard let place = places[key] else { return [String]() }
      return value.split(separator: " ").map {
        "\(place)/\($0.split(separator: ":").first ?? "")"
      }
    }
  }

  /// The files and folders that systemd needs for its start, and that are not there.
  var missing: [String] {
    let keys = [
      "LoadCredential", "LoadCredentialEncrypted", "ReadWritePaths", "ReadOnlyPaths",
      "InaccessiblePaths", "ExecPaths", "NoExecPaths", "BindPaths", "BindReadOnlyPaths",
    ]
    return assignments.flatMap { key, value -> [String] in
      guard keys.contains(key) else { return [] }
      return value.split(separator: " ").compactMap { word -> String? in
        let parts = word.split(separator: ":")
        let path = key.hasPrefix("LoadCredential") ? parts.dropFirst().first : parts.first
        guard let path, path.hasPrefix("/") else { return nil }
        return (try? FileSystem.status(of: String(path))) == nil ? "\(path) (\(key)=)" : nil
      }
    }
  }

  /// Takes out of a text what could be a secret that the unit has by itself, if somebody put it
  /// there.
  func hidingValues(in text: String) -> String {
    assignments.filter { $0.key == "Environment" || $0.key.hasPrefix("SetCredential") }
      .flatMap { $0.value.split { " =:\"'".contains($0) } }
      .filter { $0.utf8.count > 3 }
      .reduce(text) { $0.replacing($1, with: "(not shown)") }
  }

  /// The assignments as `KEY=VALUE` for a transient unit (systemd-run(1)) that runs another
  /// program, for a moment, beside the service: without those about the process, and so that
  /// nothing of the service is removed at its end. Throws what cannot be said there.
  func properties() throws(Failure) -> [String] {
    var result: [String] = []
    if assignments.contains(where: { $0.key.hasPrefix("SetCredential") }) {
      throw Failure(
        "\(ServiceUnit.name) has SetCredential=, which would be shown to everybody on this host "
          + "while the check runs")
    }
    for (key, value) in assignments where !ServiceUnit.isOfTheProcess(key) {
      // Lines of these add up in a file, and replace each other here.
      if key == "CapabilityBoundingSet" || key == "AmbientCapabilities",
        let index = result.firstIndex(where: { $0.hasPrefix("\(key)=") })
      {
        guard !value.hasPrefix("~"), !result[index].hasPrefix("\(key)=~") else {
          throw Failure("\(ServiceUnit.name) has several lines of \(key)=, with a ~")
        }
        result[index] += " \(value)"
      } else {
        result.append("\(key)=\(try ServiceUnit.expanded(value, of: key))")
      }
    }
    return result + ["RuntimeDirectoryPreserve=yes"]
  }

  /// Whether a setting is about what is run, how long, and how it is watched, and not about what it
  /// may do.
  private static func isOfTheProcess(_ key: String) -> Bool {
    let beginnings = [
      "Exec", "Restart", "Watchdog", "Timeout", "RuntimeMax", "RuntimeRandomized", "StartLimit",
      "Standard", "TTY", "Syslog", "LogLevel", "LogExtra", "LogRate", "LogFilter", "Kill", "Send",
      "FinalKill", "OOMPolicy", "FileDescriptorStore", "USBFunction", "Delegate", "Success",
    ]
    let words = [
      "Type", "ExitType", "RemainAfterExit", "GuessMainPID", "PIDFile", "BusName", "NotifyAccess",
      "Sockets", "NonBlocking", "RootDirectoryStartOnly", "PermissionsStartOnly", "ReloadSignal",
      "RefreshOnReload", "RuntimeDirectoryPreserve", "FailureAction", "RebootArgument", "OpenFile",
    ]
    // These say what it may write, and execute.
    let others = ["ExecPaths", "ExecSearchPath"]
    return words.contains(key)
      || (beginnings.contains { key.hasPrefix($0) } && !others.contains(key))
  }

  /// The specifiers (systemd.unit(5)) that mean the same in each system unit, and those of the
  /// name: systemd-run follows none.
  private static func expanded(_ value: String, of key: String) throws(Failure) -> String {
    let meanings: [Character: String] = [
      "%": "%", "n": name, "N": "jotd", "p": "jotd", "i": "", "t": "/run", "S": "/var/lib",
      "C": "/var/cache", "L": "/var/log", "E": "/etc", "T": "/tmp", "V": "/var/tmp",
      "b": Boot.id,
    ]
    var result = ""
    var rest = value[...]
    while let sign = rest.firstIndex(of: "%") {
      result += rest[..<sign]
      let letter = rest.index(after: sign)
      guard letter < rest.endIndex, let meaning = meanings[rest[letter]] else {
        throw Failure("\(name) has a specifier in \(key)= that check does not know")
      }
      result += meaning
      rest = rest[rest.index(after: letter)...]
    }
    return result + rest
  }

  /// Lines that end with a backslash go on in the next one; comments do not end them.
  private static func logicalLines(of text: String) -> [String] {
    var lines: [String] = []
    var open: String?
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
      let words = trimmed(line)
      if words.hasPrefix("#") || words.hasPrefix(";") { continue }
      let whole = (open ?? "") + words
      open = whole.hasSuffix("\\") ? whole.dropLast() + " " : nil
      if open == nil { lines.append(whole) }
    }
    return lines + [open].compactMap(\.self)
  }

  private static func trimmed(_ text: some StringProtocol) -> String {
    var rest = text[...]
    while rest.last?.isWhitespace == true { rest.removeLast() }
    return String(rest.drop(while: \.isWhitespace))
  }
}
