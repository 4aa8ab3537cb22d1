//! The forms in which models write down one and the same solution.

use autotune::quality::tasks::{Kind, Task, TaskLanguage};

/// A solution to be written down.
pub struct Solution<'a> {
    pub task: &'a Task,
    /// All of it: for a continuation the prompt and the body.
    pub program: String,
    /// The task's own solution: a body, or a whole program.
    pub body: &'a str,
}

/// A form's name and what it makes of a solution; nothing where the form does not fit.
pub type Form = (&'static str, fn(&Solution<'_>) -> Option<String>);

const F: &str = "```";

impl<'a> Solution<'a> {
    pub fn new(task: &'a Task) -> Self {
        let body = task.canonical.as_deref().unwrap();
        let program = match task.kind {
            Kind::Continuation => format!("{}{body}", task.prompt),
            Kind::Standalone => body.to_owned(),
        };
        Self { task, program: format!("{}\n", program.trim_end()), body }
    }

    fn is_python(&self) -> bool {
        self.task.language == TaskLanguage::Python
    }

    fn language(&self) -> &'static str {
        if self.is_python() { "python" } else { "javascript" }
    }

    fn name(&self) -> &str {
        &self.task.entry_point
    }

    /// A block with a fence that names the language.
    fn block(&self) -> String {
        format!("{F}{}\n{}{F}\n", self.language(), self.program)
    }

    /// A function of the same name that is wrong.
    fn wrong(&self) -> String {
        if self.is_python() {
            format!("def {}(*values):\n    return 'wrong'\n", self.name())
        } else {
            format!("const {} = (...values) => {{\n  return 'wrong';\n}}\n", self.name())
        }
    }

    fn wrong_block(&self) -> String {
        format!("{F}{}\n{}{F}\n", self.language(), self.wrong())
    }

    /// A comment or docstring that holds a fence.
    fn fenced_comment(&self) -> String {
        if self.is_python() {
            format!("\"\"\"Example:\n\n{F}python\n{}(1)\n{F}\n\"\"\"\n", self.name())
        } else {
            format!("/* Example:\n\n{F}js\n{}(1)\n{F}\n*/\n", self.name())
        }
    }

    /// Statements that use the function wrongly, as examples at a program's end do.
    fn examples(&self) -> String {
        let name = self.name();
        if self.is_python() {
            format!(
                "\n# Example usage:\nresult = {name}(*['no', 'such'] * 9)\nprint(\"Result:\", result)\nassert {name}() == 'wrong'\n\nif __name__ == \"__main__\":\n    print({name}(input()))\n"
            )
        } else {
            format!(
                "\n// Example usage:\nconst example = {name}(null);\nconsole.log(example);\nconsole.assert(false);\n"
            )
        }
    }

    /// The program with the indentation of all its lines.
    fn shifted(&self, indent: &str) -> String {
        let shift =
            |line: &str| if line.is_empty() { String::from("\n") } else { format!("{indent}{line}\n") };
        self.program.lines().map(shift).collect()
    }

    /// The program with tabs for its indentation.
    fn tabbed(&self) -> Option<String> {
        let blanks = |line: &str| line.len() - line.trim_start_matches(' ').len();
        let text = self.program.lines().filter(|line| !line.trim().is_empty());
        if self.program.contains("'''")
            || self.program.lines().any(|line| line.trim_start_matches(' ').starts_with('\t'))
        {
            return None;
        }
        // Fours where all are such; else a tab for a blank, which keeps what is deeper than what.
        let unit = if text.clone().all(|line| blanks(line) % 4 == 0) { 4 } else { 1 };
        let tab =
            |line: &str| format!("{}{}\n", "\t".repeat(blanks(line) / unit), line.trim_start_matches(' '));
        Some(self.program.lines().map(tab).collect())
    }
}

/// Forms of chat answers.
pub const FORMS: &[Form] = &[
    ("fence", |s| Some(s.block())),
    ("fence, prose before and after", |s| {
        Some(format!(
            "Sure! Here's what you're asking for (it isn't long):\n\n{}\nThis works, doesn't it? Call `{}`.\n",
            s.block(),
            s.name()
        ))
    }),
    ("no language", |s| Some(format!("{F}\n{}{F}\n", s.program))),
    ("language behind the fence", |s| {
        Some(format!("{F}\n{}\n{}{F}\n\nThat is all.", s.language(), s.program))
    }),
    ("language behind the fence and blank lines", |s| {
        Some(format!("Here:\n\n{F}\n\n{}:\n\n{}{F}", s.language(), s.program))
    }),
    ("language in capitals", |s| Some(format!("{F} {}\n{}{F}\n", s.language().to_uppercase(), s.program))),
    ("code on the fence's line", |s| {
        let lines = ["def ", "from ", "import ", "class ", "const ", "function ", "/*", "//"];
        lines
            .iter()
            .any(|word| s.program.starts_with(word))
            .then(|| format!("{F}{} {}{F}\n", s.language(), s.program))
    }),
    ("tildes", |s| Some(format!("Sure.\n~~~{}\n{}~~~\n", s.language(), s.program))),
    ("four marks", |s| Some(format!("{F}`{}\n{}{F}`\nDone.\n", s.language(), s.program))),
    ("never closed", |s| Some(format!("Here it is:\n{F}{}\n{}", s.language(), s.program))),
    ("closing fence alone", |s| Some(format!("{}{F}", s.program))),
    ("closing fence alone, prose before and after", |s| {
        Some(format!("Here you are, it's short.\n\n{}{F}\nIt doesn't do more.\n", s.program))
    }),
    ("closing fence behind the last statement", |s| {
        Some(format!("{F}{}\n{}{F}\nDone.", s.language(), s.program.trim_end()))
    }),
    ("reasoning with a wrong draft", |s| {
        Some(format!(
            "<think>\nMaybe:\n{}No, that's wrong. <b>Hm</b>\n</think>\n\n{}",
            s.wrong_block(),
            s.block()
        ))
    }),
    ("reasoning whose start is in the prompt", |s| {
        Some(format!("So:\n{}Wrong.\n</think>\n{}", s.wrong_block(), s.block()))
    }),
    ("reasoning with an unclosed fence", |s| {
        Some(format!("<reasoning>\n{F}{}\n{}</reasoning>\n{}", s.language(), s.wrong(), s.block()))
    }),
    ("reasoning that never ends", |s| {
        Some(format!("<thinking>\nFirst:\n{}Wrong. Better:\n{}", s.wrong_block(), s.block()))
    }),
    ("fences in a docstring or comment", |s| {
        Some(format!("Here:\n{F}{}\n{}{}{F}\n", s.language(), s.fenced_comment(), s.program))
    }),
    ("a wrong block, then the corrected one", |s| {
        Some(format!("First idea:\n{}Wrong. Corrected:\n{}", s.wrong_block(), s.block()))
    }),
    ("blocks of shell, use and output", |s| {
        Some(format!(
            "Install:\n{F}bash\npip install x\n{F}\nThe code:\n{}Use it:\n{F}{}\nprint({}(1))\n{F}\nOutput:\n{F}\n3\n{F}\n",
            s.block(),
            s.language(),
            s.name()
        ))
    }),
    ("the signature alone, then the program", |s| {
        (s.task.kind == Kind::Continuation)
            .then(|| format!("You gave:\n{F}\n{}{F}\nComplete:\n{}", s.task.prompt, s.block()))
    }),
    ("windows line ends", |s| Some(s.block().replace('\n', "\r\n"))),
    ("tabs", |s| s.tabbed().map(|program| format!("{F}{}\n{program}{F}\n", s.language()))),
    ("in a list", |s| {
        Some(format!("1. Do this:\n\n    {F}{}\n{}    {F}\n2. Done.\n", s.language(), s.shifted("    ")))
    }),
    ("in a quotation", |s| {
        Some(format!("> {F}{}\n{}> {F}\n", s.language(), s.shifted("> ").replace("\n\n", "\n>\n")))
    }),
    ("indented in a fence at the margin", |s| {
        Some(format!("{F}{}\n{}{F}\n", s.language(), s.shifted("    ")))
    }),
    ("no fence", |s| Some(s.program.clone())),
    ("no fence, prose before and after", |s| {
        Some(format!(
            "From what you say I'd write (if that's fine):\n\n{}\nThis isn't long. Done\n",
            s.program
        ))
    }),
    ("examples that fail behind the function", |s| {
        Some(format!("{F}{}\n{}{}{F}\n", s.language(), s.program, s.examples()))
    }),
    ("end of turn", |s| Some(format!("{}<|im_end|>\n<|im_start|>user\nThanks.", s.block()))),
    ("end of turn without fence", |s| {
        Some(format!("{}<|im_end|>\n<|im_start|>user\nThanks.", s.program.trim_end()))
    }),
    ("html", |s| {
        let escaped = s.program.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        Some(format!("<p>Here:</p>\n<pre><code class=\"x\">{escaped}</code></pre>\n<p>Done.</p>"))
    }),
    ("inside a block of markdown", |s| {
        Some(format!("{F}`markdown\n# Answer\n\n{}\nDone.\n{F}`\n", s.block()))
    }),
    ("the body alone", |s| {
        (s.task.kind == Kind::Continuation).then(|| format!("{F}{}\n{}{F}\n", s.language(), s.body))
    }),
    ("the body alone, without fence", |s| (s.task.kind == Kind::Continuation).then(|| s.body.to_owned())),
];

/// Forms of raw continuations.
pub const CONTINUATIONS: &[Form] = &[
    ("as it is", |s| Some(s.body.to_owned())),
    ("behind the trimmed prompt", |s| {
        let cut = &s.task.prompt[s.task.generation_prompt().len()..];
        (s.task.kind == Kind::Continuation).then(|| format!("{cut}{}", s.body))
    }),
    ("running on", |s| {
        let more = if s.is_python() {
            "\n\n# Test\nprint('x')\nassert False\n"
        } else {
            "\n\nconsole.log('x');\nconst more = {\n"
        };
        Some(format!("{}{more}", s.body.trim_end()))
    }),
    ("a fence and prose", |s| Some(format!("{}\n{F}\nThis isn't long.\n", s.body.trim_end()))),
    ("end of text", |s| Some(format!("{}<|endoftext|>def x(:", s.body.trim_end()))),
    ("windows line ends", |s| Some(s.body.replace('\n', "\r\n"))),
];
