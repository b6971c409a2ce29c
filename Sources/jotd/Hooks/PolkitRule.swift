import Glibc
import Rotation

/// The rule of polkit(8) by which jotd's user may do to units what the hooks of a configuration ask
/// of systemd, and nothing else. It is root who writes it, at each start and reload of the service.
struct PolkitRule {
  /// Whom it is for: the user of jotd.service.
  private static let user = "jotd"
  private static let folder = "/etc/polkit-1/rules.d"
  private static let name = "50-jotd-hooks.rules"
  /// No name that polkitd reads.
  private static let temporaryName = ".50-jotd-hooks.new"

  /// What is allowed, a verb and a unit each, sorted.
  let orders: [String]

  init(_ hooks: some Sequence<Hook>) {
    orders = Set(hooks.lazy.compactMap(\.order).map { "\($0.verb) \($0.unit)" }).sorted()
  }

  /// The file's content; nil when no hook asks for anything.
  var text: String? {
    guard !orders.isEmpty else { return nil }
    // JSON's strings are strings of JavaScript, whatever a unit is called.
    let list = orders.map { "    \(JSON.string($0).text)" }.joined(separator: ",\n")
    return """
      // Written by jotd for the hooks of its configuration (on_rotate, on_publish), at each start
      // and by systemctl reload jotd: see jotd.yaml(5), HOOKS. What is changed here is lost.
      polkit.addRule(function (action, subject) {
        var allowed = [
      \(list)
        ];
        if (action.id == "org.freedesktop.systemd1.manage-units" &&
            subject.user == \(JSON.string(PolkitRule.user).text) &&
            allowed.indexOf(action.lookup("verb") + " " + action.lookup("unit")) >= 0) {
          return polkit.Result.YES;
        }
      });

      """
  }

  /// What to do when systemd did not do what a hook asked for.
  static var advice: String {
    let service = "/usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service"
    guard (try? FileSystem.status(of: service)) != nil else {
      return "Only root may do that while polkitd is not installed: apt install polkitd, and then "
        + "systemctl reload jotd"
    }
    return "The rule that permits it is written by a start of the service and by "
      + "systemctl reload jotd: see jotd.yaml(5), HOOKS"
  }

  // MARK: For root

  /// Makes the file that polkitd reads say this, or removes it where there is nothing to say. False
  /// where all was so already, and without polkitd. Whoever else could write there, no link is
  /// followed, and the file is root's.
  func install() throws(Failure) -> Bool {
    let place = "\(PolkitRule.folder)/\(PolkitRule.name)"
    do throws(Failure) {
      let folder = try Descriptor.open(PolkitRule.folder, [.folder, .noFollow])
      guard let text else {
        try folder.remove(PolkitRule.name)
        return true
      }
      if PolkitRule.isInPlace(text, folder) { return false }
      do { try folder.remove(PolkitRule.temporaryName) } catch {
        guard error.isNotFound else { throw error }
      }
      let file = try folder.open(PolkitRule.temporaryName, [.write, .createNew, .noFollow])
      try file.write(Array(text.utf8))
      try file.changeMode(0o644)
      try file.sync()
      try folder.rename(PolkitRule.temporaryName, to: PolkitRule.name)
      try folder.sync()
      return true
    } catch {
      if error.isNotFound { return false }
      throw error.about("\(place)")
    }
  }

  private static func isInPlace(_ text: String, _ folder: borrowing Descriptor) -> Bool {
    guard let file = try? folder.open(name, [.noFollow, .nonBlocking]),
      let status = try? file.status(), status.kind == .file, status.owner == 0,
      status.mode == 0o644, let bytes = try? file.read(upTo: text.utf8.count)
    else { return false }
    return bytes == Array(text.utf8)
  }

  /// Why a configuration from these files is no ground for a rule, however good it is: who can
  /// write it could manage units by it. Nil when nobody but root can.
  static func fault(inFiles files: [String]) -> String? {
    for file in files {
      let isAbsolute = file.utf8.first == UInt8(ascii: "/")
      let path = isAbsolute ? file : "\(FileSystem.resolved(".") ?? "")/\(file)"
      if let fault = fault(onWayTo: path) { return fault }
    }
    return nil
  }

  /// The same of each folder and each link on the way to one: who can replace a link chooses what
  /// is read.
  private static func fault(onWayTo path: String) -> String? {
    var remaining = [""] + Path(path).names
    var here: [String] = []
    var followed = 0
    while let name = remaining.first {
      remaining.removeFirst()
      if name == "." { continue }
      if name == ".." {
        here = here.dropLast()
        continue
      }
      if !name.isEmpty { here.append(name) }
      let shown = "/" + here.joined(separator: "/")
      guard let place = try? Descriptor.open(shown, [.pathOnly, .noFollow]),
        let status = try? place.status()
      else { return "\(shown) is gone" }
      guard status.owner == 0, status.kind == .link || status.mode & 0o022 == 0 else {
        return "\(shown) can be written by others than root"
      }
      guard status.kind == .link else { continue }
      followed += 1
      guard followed <= Limits.symbolicLinks, let target = try? place.linkTarget() else {
        return "\(shown) leads nowhere"
      }
      here = target.utf8.first == UInt8(ascii: "/") ? [] : here.dropLast()
      remaining = Path(target).names + remaining
    }
    return nil
  }
}
