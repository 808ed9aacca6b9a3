/**
 * The declaration of an adapter: one pure function `apply(params, x, host) -> y` and what is known of
 * it. Everything else (training, merging, files, laws, kernels) is derived from this record.
 *
 * At the type level `token` stands for all leading axes: at run time x may have `batch` as well.
 */
import { kit } from '../dsl/build.ts'
import type { AnyTensor, Checked, DimLike, Key, Program, Tensor, Value, Values } from '../dsl/index.ts'
import type { Fields, FieldsOf } from './field.ts'

// ------------------------------------------------------------------------------- model: sites

/** A frozen linear layer  y = x W^T + b. Adapters that add use `call`; those that reshape the weight read `weight`. */
export interface LinearHost {
  readonly weight: Tensor<'out' | 'in'>
  readonly bias?: Tensor<'out'>
  readonly call: (x: Tensor<'token' | 'in'>) => Tensor<'token' | 'out'>
}

/** The output of a sublayer, before the residual is added; `call` is the identity, or what earlier adapters made of it. */
export interface ActivationHost {
  readonly call: (x: Tensor<'token' | 'in'>) => Tensor<'token' | 'in'>
}

/** Queries, keys and values after RoPE, as heads. Query head number = kv * groups + group. */
export interface AttentionInput {
  readonly q: Tensor<'token' | 'kv' | 'group' | 'h'>
  readonly k: Tensor<'key' | 'kv' | 'h'>
  readonly v: Tensor<'key' | 'kv' | 'h'>
}

/** Causal attention up to the heads before the output projection. */
export interface AttentionHost {
  /** the layer's own key and value projections, for prompts: (token, in) -> (token, kv, h), without RoPE */
  readonly projectKey: (x: Tensor<'token' | 'in'>) => Tensor<'token' | 'kv' | 'h'>
  readonly projectValue: (x: Tensor<'token' | 'in'>) => Tensor<'token' | 'kv' | 'h'>
  readonly call: (x: AttentionInput) => Tensor<'token' | 'kv' | 'group' | 'h'>
}

/** What goes in, what comes out and what is frozen, at each kind of site. */
export interface Sites {
  readonly linear: {
    readonly x: Tensor<'token' | 'in'>
    readonly y: Tensor<'token' | 'out'>
    readonly host: LinearHost
  }
  readonly activation: {
    readonly x: Tensor<'token' | 'in'>
    readonly y: Tensor<'token' | 'in'>
    readonly host: ActivationHost
  }
  readonly attention: {
    readonly x: AttentionInput
    readonly y: Tensor<'token' | 'kv' | 'group' | 'h'>
    readonly host: AttentionHost
  }
}
export type SiteKind = keyof Sites

/** Sizes of a site's axes: numbers in a model, symbols in a proof. `in` of attention is the model's width. */
export interface SizesAt {
  readonly linear: Readonly<Record<'in' | 'out', DimLike>>
  readonly activation: Readonly<Record<'in', DimLike>>
  readonly attention: Readonly<Record<'in' | 'kv' | 'group' | 'h', DimLike>>
}
export type SiteSizes = Readonly<Record<string, DimLike>>

// -------------------------------------------------------------------------- model: parameters

/** A parameter's axes in the order of its file layout, with a size for each. */
export interface Param<A extends string> {
  readonly axes: ReadonlyArray<A>
  readonly sizes: Readonly<Record<A, DimLike>>
}
/** P: parameter name -> union of its axes */
type ParamsOf<P extends Readonly<Record<string, string>>> = { readonly [K in keyof P]: Param<P[K]> }
type TensorsOf<P extends Readonly<Record<string, string>>> = { readonly [K in keyof P]: Tensor<P[K]> }

export interface Context {
  /** training with a key for dropout, or evaluation */
  readonly train?: Key
}

export interface InitHost<S = SiteSizes> {
  readonly sizes: S
  /** the frozen weight, for inits that look at it */
  readonly weight?: Tensor<'out' | 'in'>
}

// ------------------------------------------------------------------------------- model: laws

export type Params = Readonly<Record<string, AnyTensor>>

/**
 * An adapter on one site at symbolic or numeric sizes, ready for a law to talk about. Its tensors are
 * inputs of the programs that a law builds; a law may add further inputs (cotangents, directions): the
 * runner fills every one with generic numbers of order one.
 */
export interface Specimen {
  readonly adapter: Adapter
  readonly config: Config
  readonly sizes: SiteSizes
  /** generic parameters, one program input each */
  readonly params: Params
  /** parameters as `init` makes them from `key` */
  readonly initial: Params
  readonly key: Key
  readonly x: Sites[SiteKind]['x']
  readonly host: Sites[SiteKind]['host']
  /** the host on the base that `init` asks for: `host` itself where it leaves the base alone */
  readonly initialHost: Sites[SiteKind]['host']
  /** the tensors x is made of (x; or q, k, v), and x made of others */
  readonly xs: Params
  readonly withX: (xs: Params) => Sites[SiteKind]['x']
  /** the host's frozen tensors, and a host made of others */
  readonly frozen: Params
  readonly withFrozen: (frozen: Params) => Sites[SiteKind]['host']
  /** `apply` in evaluation */
  readonly run: (p: Params, x: Sites[SiteKind]['x'], host: Sites[SiteKind]['host']) => AnyTensor
}

/** What a law says of a specimen: two tensors that must agree, one that must vanish, or one that must not. */
export type Claim =
  | {
      readonly kind: 'equal'
      readonly label: string
      readonly left: AnyTensor
      readonly right: AnyTensor
      /** an error that is not rounding (the truncation of a difference quotient), added to the bound */
      readonly slack?: AnyTensor
      /** what the bound is small against, where that is not the value: a derivative may vanish */
      readonly scale?: AnyTensor
    }
  | { readonly kind: 'zero'; readonly label: string; readonly tensor: AnyTensor }
  /** `each`: every element must differ from zero at some point, not only some element */
  | { readonly kind: 'nonzero'; readonly label: string; readonly tensor: AnyTensor; readonly each?: boolean }
  /** a target's own answer, to be judged under the bound of its format */
  | {
      readonly kind: 'executed'
      readonly label: string
      readonly tensor: AnyTensor
      /** as for `equal` */
      readonly scale?: AnyTensor
      readonly execute: Executor
    }
  /** numbers that another implementation gave for these inputs, in f32 or better */
  | {
      readonly kind: 'golden'
      readonly label: string
      readonly tensor: AnyTensor
      readonly inputs: Values
      readonly expected: Value
    }
  /** decided without numbers: a property of files, keys or counts; the reason why it does not hold */
  | { readonly kind: 'holds'; readonly label: string; readonly reason: string | undefined }

/** Runs a program's inputs on some target; both sides row-major in the program's own order of axes. */
export type Executor = (program: Program, inputs: Values) => Checked<Values>

export interface Law {
  readonly name: string
  readonly doc: string
  /** why the law says nothing about this adapter in this config */
  readonly notApplicable?: (a: Adapter, config: Config) => string | undefined
  readonly claims: (s: Specimen) => ReadonlyArray<Claim>
  /** cases that are enough, where each is dear: those of a law that compiles */
  readonly mostCases?: number
  /** interval of generic parameters where the law holds only there, e.g. small Q for a truncated series */
  readonly domain?: { readonly params: readonly [number, number] }
  /** proofs are not tried: the law's normal form grows beyond what the prover takes on */
  readonly onlyTested?: boolean
}

// -------------------------------------------------------------------------- model: declaration

/** PEFT's names for an adapter's files; or another library's, where PEFT has no such method. */
export interface Files {
  /** PEFT's `peft_type` */
  readonly type: string
  readonly library: 'peft' | 'adapterhub' | 'llama-adapter'
  /** parameter -> key suffix in the tensor file, e.g. `lora_A.weight` */
  readonly keys: Readonly<Record<string, string>>
  /** our config field -> its key in adapter_config.json */
  readonly config: Readonly<Record<string, string>>
  /** further keys that are always written; a file that says anything else asks for a feature that is not here */
  readonly fixed?: Readonly<Record<string, unknown>>
  /** the same for keys with several harmless values; the first is written */
  readonly oneOf?: Readonly<Record<string, readonly [unknown, ...ReadonlyArray<unknown>]>>
  /** keys that mean nothing without such a feature: written like this, and not looked at */
  readonly ignored?: Readonly<Record<string, unknown>>
  /** what the absence of a mapped key means to the library; other mapped keys must be stated */
  readonly absent?: Readonly<Record<string, unknown>>
  /** keys that a file must state, because the library's own default is another */
  readonly stated?: ReadonlyArray<string>
  /** our config fields that this format stands for without a key */
  readonly implies?: Readonly<Record<string, unknown>>
  /** how many axes of size 1 the file puts before a parameter's own */
  readonly lead?: Readonly<Record<string, number>>
}

interface Declaration<K extends SiteKind, C, P extends Readonly<Record<string, string>>> {
  readonly name: string
  readonly doc: string
  readonly site: K
  readonly config: FieldsOf<C>
  readonly params: (config: C, sizes: SizesAt[K]) => ParamsOf<P>
  /** tensors that are saved but not trained */
  readonly buffers?: (config: C, sizes: SizesAt[K]) => Readonly<Record<string, Param<string>>>
  /** parameters that all sites share (VeRA's projections) */
  readonly shared?: (config: C, sizes: SizesAt[K]) => Readonly<Record<string, Param<string>>>
  readonly init: (
    config: C,
  ) => (key: Key, host: InitHost<SizesAt[K]>) => { readonly params: TensorsOf<P>; readonly base?: Tensor<'out' | 'in'> }
  readonly apply: (
    config: C,
  ) => (p: TensorsOf<P>, x: Sites[K]['x'], host: Sites[K]['host'], ctx: Context) => Sites[K]['y']
  /** W' by the method's definition in the paper's letters: an independent second program, never derived from `apply` */
  readonly weight?: (config: C) => (p: TensorsOf<P>, W: Tensor<'out' | 'in'>) => Tensor<'out' | 'in'>
  /** W from W', for exact unmerging */
  readonly inverse?: (config: C) => (p: TensorsOf<P>, W: Tensor<'out' | 'in'>) => Tensor<'out' | 'in'>
  /** added to the loss */
  readonly penalty?: (config: C) => (p: TensorsOf<P>) => Tensor<never>
  /** host work after an optimiser step: a rank allocator */
  readonly afterStep?: (config: C) => (state: Params, grads: Params) => Params
  /** back into the constraint set after a step: constrained OFT */
  readonly project?: (config: C) => (p: TensorsOf<P>) => TensorsOf<P>
  readonly files?: Files
  /** formats for what `files` cannot hold, tried in order */
  readonly otherFiles?: ReadonlyArray<Files>
  /** laws beside the standard ones; one of the same name replaces the standard one */
  readonly laws?: ReadonlyArray<Law>
  /** standard laws that this adapter does not hold, with the reason; the runner must refute them */
  readonly fails?: Readonly<Record<string, string>>
  /** module names adapted by default, PEFT's `target_modules` */
  readonly targets: ReadonlyArray<string>
}

export type Config = Readonly<Record<string, unknown>>

/** An adapter with its types forgotten, as registries, laws, training and files see it. */
export interface Adapter {
  readonly name: string
  readonly doc: string
  readonly site: SiteKind
  readonly config: Fields
  readonly params: (config: Config, sizes: SiteSizes) => Readonly<Record<string, Param<string>>>
  readonly buffers?: (config: Config, sizes: SiteSizes) => Readonly<Record<string, Param<string>>>
  readonly shared?: (config: Config, sizes: SiteSizes) => Readonly<Record<string, Param<string>>>
  readonly init: (
    config: Config,
  ) => (key: Key, host: InitHost) => { readonly params: Params; readonly base?: Tensor<'out' | 'in'> }
  readonly apply: (
    config: Config,
  ) => (p: Params, x: Sites[SiteKind]['x'], host: Sites[SiteKind]['host'], ctx: Context) => Sites[SiteKind]['y']
  readonly weight?: (config: Config) => (p: Params, W: Tensor<'out' | 'in'>) => Tensor<'out' | 'in'>
  readonly inverse?: (config: Config) => (p: Params, W: Tensor<'out' | 'in'>) => Tensor<'out' | 'in'>
  readonly penalty?: (config: Config) => (p: Params) => Tensor<never>
  readonly afterStep?: (config: Config) => (state: Params, grads: Params) => Params
  readonly project?: (config: Config) => (p: Params) => Params
  readonly files?: Files
  /** formats for what `files` cannot hold, tried in order */
  readonly otherFiles?: ReadonlyArray<Files>
  readonly laws?: ReadonlyArray<Law>
  readonly fails?: Readonly<Record<string, string>>
  readonly targets: ReadonlyArray<string>
}

// --------------------------------------------------------------------------------- constructors

/** `param(['in', 'r'], {in: sizes.in, r: rank})`: axes in file order. */
export const param = <const A extends string>(
  axes: ReadonlyArray<A>,
  sizes: Readonly<Record<A, DimLike>>,
): Param<A> => ({
  axes,
  sizes,
})

/** Declares an adapter. The types of config, params and site are checked here and forgotten behind it: the one cast. */
export const adapter = <K extends SiteKind, C, P extends Readonly<Record<string, string>>>(
  d: Declaration<K, C, P>,
): Adapter => d as unknown as Adapter

/** The frozen layer  y = x W^T + b. */
export const linearHost = (weight: Tensor<'out' | 'in'>, bias?: Tensor<'out'>): LinearHost => ({
  weight,
  ...(bias === undefined ? {} : { bias }),
  call: (x) => {
    const y = kit.dot(x.node, weight.node, ['in'])
    return { node: bias === undefined ? y : kit.map('add', y, bias.node) } as unknown as Tensor<'token' | 'out'>
  },
})

export const activationHost: ActivationHost = { call: (x) => x }
