//! Tasks as the study's grader: prompts for the model, verdicts from the sandbox.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::grading::{Graded, Grading};
use super::verdicts::{Answer, collect};
use autotune_engine::draw::Draws;
use autotune_engine::generate::{Generation, Prompt};
use autotune_quality::codebleu;
use autotune_quality::codebleu::{References, Weights, syntax_valid};
use autotune_quality::extract;
use autotune_quality::extract::{Style, completion, ends_at_dedent};
use autotune_quality::tasks::{Kind, Program, Task, TaskSet, program};
use autotune_sandbox::{Judge, Judgement, Verdict};

/// A completion may be this many times as long as the canonical one, counting four bytes a token (code has three to four) ...
const LENGTH_FACTOR: usize = 2;
/// ... and this many tokens longer,
const LENGTH_MARGIN: u32 = 24;
/// but never longer than this, in tokens.
const LONGEST: u32 = 384;

/// A task set with the judge that runs its programs.
pub struct TaskGrading<'a> {
    tasks: TaskSet,
    prompts: Vec<Prompt>,
    references: Vec<Option<References>>,
    judge: Box<dyn Judge + 'a>,
    /// Verdicts of earlier programs of this study.
    judged: HashMap<Key, Judgement>,
}

/// A task and a solution.
type Key = (String, String);

impl<'a> TaskGrading<'a> {
    /// The tasks in their order, each continued once greedily, and then as `draws` say.
    #[must_use]
    pub fn new(tasks: TaskSet, judge: Box<dyn Judge + 'a>, draws: Option<Draws>) -> Self {
        let prompts = tasks.tasks.iter().map(|task| Prompt { draws, ..prompt(task) }).collect();
        let references = tasks.tasks.iter().map(reference).collect();
        Self { tasks, prompts, references, judge, judged: HashMap::new() }
    }
}

/// The task's own solution, parsed once for all comparisons.
fn reference(task: &Task) -> Option<References> {
    let language = task.language_name.parse().ok()?;
    let whole = format!("{}{}", task.prompt, task.canonical.as_ref()?);
    References::new(language, codebleu::Mode::Sound, &[whole]).ok()
}

fn prompt(task: &Task) -> Prompt {
    let usual = task.canonical.as_ref().map_or(600, String::len);
    let max_tokens = (LENGTH_FACTOR * usual / 4) as u32 + LENGTH_MARGIN;
    let mut stop: Vec<String> = task.stop.iter().chain(&task.closing).cloned().collect();
    if ends_at_dedent(task) {
        stop.extend((b'!'..=b'~').map(|c| format!("\n{}", char::from(c))));
    }
    Prompt {
        id: task.id.clone(),
        text: task.generation_prompt().to_owned(),
        stop,
        max_tokens: max_tokens.min(LONGEST),
        known: known(task),
        draws: None,
    }
}

/// What the model is known to have to write behind the prompt: the task's own solution, with the white space that the prompt was cut of.
fn known(task: &Task) -> Option<String> {
    let cut = &task.prompt[task.generation_prompt().len()..];
    let canonical = task.canonical.as_ref().filter(|_| task.kind == Kind::Continuation)?;
    Some(format!("{cut}{}", canonical.trim_end()))
}

impl Grading for TaskGrading<'_> {
    fn prompts(&self) -> &[Prompt] {
        &self.prompts
    }

    fn tasks(&self) -> Vec<Task> {
        self.tasks.tasks.iter().map(extract::end_of).collect()
    }

    fn grade(&mut self, generations: &[Generation]) -> anyhow::Result<Graded> {
        let by_id: HashMap<&str, usize> =
            self.tasks.tasks.iter().enumerate().map(|(i, task)| (task.id.as_str(), i)).collect();
        let mut ordered: BTreeMap<(usize, u32), &Generation> = BTreeMap::new();
        for generation in generations {
            if let Some(&task) = by_id.get(generation.id.as_str()) {
                ordered.insert((task, generation.sample), generation);
            }
        }
        let mut answers: Vec<Answer<'_>> = Vec::new();
        for ((place, _), generation) in ordered {
            let task = &self.tasks.tasks[place];
            let text = completion(task, &generation.text, Style::Continuation);
            let whole = format!("{}{text}", task.prompt);
            answers.push(Answer {
                task,
                generation,
                valid: task.language_name.parse().is_ok_and(|l| syntax_valid(l, &whole)),
                codebleu: self.references[place].as_ref().map(|r| r.score(&whole, &Weights::default())),
                text,
            });
        }
        let programs =
            answers.iter().map(|a| a.task.language.is_executed().then(|| program(a.task, &a.text)));
        let judgements = judge_once(self.judge.as_mut(), &mut self.judged, programs.collect())?;
        Ok(collect(&answers, &judgements))
    }
}

/// Judges programs, equal ones once: candidates that differ little write the same answers, and so does a model at a low temperature.
/// `known` holds the verdicts of earlier programs. What is not executed has no judgement.
fn judge_once(
    judge: &mut dyn Judge,
    known: &mut HashMap<Key, Judgement>,
    programs: Vec<Option<Program>>,
) -> anyhow::Result<Vec<Option<Judgement>>> {
    let key = |program: &Program| (program.task_id.clone(), program.solution.clone());
    let mut seen: HashSet<Key> = HashSet::new();
    let new = |program: &&Program| !known.contains_key(&key(program)) && seen.insert(key(program));
    let asked: Vec<Program> = programs.iter().flatten().filter(new).cloned().collect();
    let judged = judge.judge(&asked)?;
    anyhow::ensure!(
        judged.len() == asked.len(),
        "the sandbox gave {} verdicts for {} programs",
        judged.len(),
        asked.len()
    );
    let now: HashMap<Key, Judgement> = asked.iter().map(key).zip(judged).collect();
    let found = |program: &Program| now.get(&key(program)).or_else(|| known.get(&key(program))).cloned();
    let judgements = programs.iter().map(|program| found(program.as_ref()?)).collect();
    known.extend(now.into_iter().filter(|(_, judgement)| lasting(judgement.verdict)));
    Ok(judgements)
}

/// Whether a program would get the same verdict again on a machine that is busier or calmer.
fn lasting(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Passed | Verdict::Failed | Verdict::SyntaxError)
}
