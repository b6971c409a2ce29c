import ArgumentParser
import Rotation

struct Polkit: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Print the rule of polkit(8) that the hooks of the configuration need.",
    discussion: """
      It lets the user jotd reload and restart the units that on_rotate names, and nothing else. \
      The service installs it by itself, as root, at each start and reload.
      """)

  @OptionGroup var config: ConfigurationOption

  @Flag(
    help: "Put it where polkitd reads it, or remove it there if no hook needs one. For root.")
  var install = false

  func run() throws {
    let diagnostics = Diagnostics()
    let settings = Configuration.load(config.pathOrStandard, diagnostics)
    guard let settings, diagnostics.errors.isEmpty else {
      // The service says at once what is wrong.
      if !install {
        writeToStandardError(diagnostics.report + "\n")
      }
      throw ExitCode.configuration
    }
    let rule = PolkitRule(settings.hooks.values.joined())
    if install {
      try put(rule, settings)
    } else if let text = rule.text {
      printRaw(text)
    } else {
      printNote("no hook reloads or restarts a unit: no rule is needed")
    }
  }

  private func put(_ rule: PolkitRule, _ settings: Settings) throws {
    guard Accounts.own == 0 else {
      printNote("only root may install a rule: call it with sudo")
      throw ExitCode.notAllowed
    }
    // Nothing can be gained by an end of all hooks.
    if !rule.orders.isEmpty, let fault = PolkitRule.fault(inFiles: settings.files) {
      printNote("\(fault), who could manage units by it: no rule for polkit is written")
      throw ExitCode.notAllowed
    }
    do throws(Failure) {
      guard try rule.install() else { return }
      printNote(
        rule.orders.isEmpty
          ? "the rule for polkit is removed: no hook needs it"
          : "by a rule for polkit, the user jotd may now \(rule.orders.joined(separator: ", "))")
    } catch {
      printNote("\(error)")
      throw ExitCode.cannotCreate
    }
  }
}
